"""`make up` for real, on other ports: a watched deployment run, killed programs, and a stop that keeps the state."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil
import psycopg
import pytest
import requests

from demo.programs import free_ports
from services.deploy import smoke
from services.plan import Plan, load_plan
from services.supervision import Supervisor

ROOT = Path(__file__).parent.parent.parent
DAY = "2026-11-20"


@dataclass(frozen=True)
class Services:
    """The services of one test run."""

    environment: dict[str, str]
    plan: Plan

    def make(self, target: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "services", target],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=200,
        )

    def states(self) -> dict[str, tuple[str, int]]:
        return {one.name: (one.state, one.pid) for one in Supervisor(self.plan).states()}

    def run(self, deployment: str, **parameters: str) -> int:
        given = [word for name, value in parameters.items() for word in ("--param", f"{name}={value}")]
        command = [sys.executable, "-m", "prefect", "deployment", "run", deployment, "--watch", *given]
        done = subprocess.run(command, cwd=ROOT, env=self.environment, capture_output=True, check=False, timeout=120)
        return done.returncode

    def flow_runs(self) -> dict[str, str]:
        return {run["name"]: run["state_type"] for run in self.ask("flow_runs/filter", {})}

    def ask(self, what: str, content: dict[str, Any]) -> Any:
        answer = requests.post(f"{self.plan.prefect_url}/api/{what}", json=content, timeout=10)
        answer.raise_for_status()
        return answer.json()

    def published(self) -> int:
        with psycopg.connect(
            f"postgresql://postgres@/postgres?host={self.plan.settings.data_dir}/postgres"
        ) as database:
            row = database.execute("select count(*) from warehouse.listen_history").fetchone()
        assert row is not None
        return int(row[0])

    def our_processes(self) -> list[psutil.Process]:
        return Supervisor(self.plan).leftovers()


@pytest.fixture(scope="module")
def services() -> Iterator[Services]:
    # Not below pytest's own temporary folder: every pytest of this user that starts closes it for Postgres's user.
    with TemporaryDirectory(prefix="moovitamix-services-", ignore_cleanup_errors=True) as folder:
        yield from _services_in(folder)


def _services_in(folder: str) -> Iterator[Services]:
    ports = dict(
        zip(("PREFECT_SERVER_API_PORT", "MOCK_PORT", "DATA_DOCS_PORT", "SERVING_PORT"), free_ports(4), strict=True)
    )
    ours = {name: str(port) for name, port in ports.items()} | {"DATA_DIR": folder}
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")} | ours
    with pytest.MonkeyPatch.context() as patch:
        for name, value in ours.items():
            patch.setenv(name, value)
        patch.delenv("MOOVITAMIX_API_URL", raising=False)
        plan = load_plan()
    environment |= {"PREFECT_API_URL": f"{plan.prefect_url}/api", "PREFECT_HOME": f"{folder}/prefect"}
    environment.pop("MOOVITAMIX_API_URL", None)
    started = Services(environment, plan)
    try:
        done = started.make("up")
        assert done.returncode == 0, done.stdout + done.stderr
        yield started
    finally:
        started.make("down")


def test_a_deployment_runs_bears_its_day_and_publishes(services: Services) -> None:
    assert services.run("ingest/daily", day=DAY) == 0
    assert services.flow_runs()[f"ingest-{DAY}"] == "COMPLETED"
    assert services.published() > 0
    docs = requests.get(f"{services.plan.docs_url}/", timeout=10)
    assert DAY in docs.text


def test_the_monitor_and_then_the_lists_follow_an_ingest_by_themselves(services: Services) -> None:
    def followed() -> bool:
        runs = services.flow_runs()
        return runs.get("monitor") == runs.get("recommend") == "COMPLETED"

    assert _comes(followed, seconds=150)
    runs = {run["name"]: run for run in services.ask("flow_runs/filter", {})}
    assert runs["monitor"]["end_time"] <= runs["recommend"]["start_time"]


def test_recommendations_are_served_and_say_whether_they_are_ready(services: Services) -> None:
    assert requests.get(f"{services.plan.serving_url}/health/live", timeout=10).json() == {"live": True}
    assert requests.get(f"{services.plan.serving_url}/health", timeout=10).json()["database"]


def test_a_blocked_day_ends_the_watching_command_with_1(services: Services) -> None:
    faults = f"{services.plan.api_url}/_control/faults"
    requests.put(faults, json=[{"endpoint": "tracks", "empty": True}], timeout=10).raise_for_status()
    try:
        assert services.run("ingest/daily", day="2026-11-21") == 1
    finally:
        requests.delete(faults, timeout=10).raise_for_status()


def test_the_next_runs_are_scheduled(services: Services) -> None:
    def scheduled() -> bool:
        runs = services.ask("flow_runs/filter", {"flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}}})
        return {tag for run in runs for tag in run["tags"]} >= {"ingest", "maintenance"}

    assert _comes(scheduled, seconds=90)


def test_up_again_changes_nothing(services: Services) -> None:
    before = services.states()
    assert services.make("up").returncode == 0
    assert services.states() == before


def test_a_port_in_use_is_one_line(services: Services, tmp_path: Path) -> None:
    environment = services.environment | {"DATA_DIR": str(tmp_path)}
    done = Services(environment, services.plan).make("up")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert f"port {services.plan.ports.mock_port}, for mock-api, is in use" in done.stderr


def test_clean_refuses_while_they_run(services: Services) -> None:
    done = services.make("clean")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert services.published() > 0


def test_killed_programs_come_back(services: Services) -> None:
    before = services.states()
    postmaster = int((services.plan.settings.data_dir / "postgres/postmaster.pid").read_text().split()[0])
    for _, pid in before.values():
        os.kill(pid, signal.SIGKILL)
    os.kill(postmaster, signal.SIGKILL)

    def back() -> bool:
        now = services.states()
        return all(now[name][0] == "RUNNING" and now[name][1] != pid for name, (_, pid) in before.items())

    assert _comes(back, seconds=60)
    assert services.make("up").returncode == 0  # waits until each answers
    assert services.published() > 0


def test_the_state_survives_a_stop_and_nothing_else_does(services: Services) -> None:
    rows = services.published()
    assert services.make("down").returncode == 0
    assert services.our_processes() == []
    assert not (services.plan.settings.data_dir / "postgres/postmaster.pid").exists()
    assert services.make("status").returncode == 1
    assert services.make("up").returncode == 0
    assert services.flow_runs()[f"ingest-{DAY}"] == "COMPLETED"
    assert services.published() == rows


def test_deploying_with_a_smoke_run_fails_when_that_run_fails(services: Services) -> None:
    faults = f"{services.plan.api_url}/_control/faults"
    requests.put(faults, json=[{"endpoint": "tracks", "empty": True}], timeout=10).raise_for_status()
    try:
        command = [sys.executable, "-m", "services.deploy", "--smoke"]
        failed = subprocess.run(
            command, cwd=ROOT, env=services.environment, capture_output=True, text=True, check=False, timeout=200
        )
    finally:
        requests.delete(faults, timeout=10).raise_for_status()
    assert failed.returncode == 1
    assert "error: the deployments are made, but ingest/daily did not complete" in failed.stderr

    smoke(services.environment["PREFECT_API_URL"])  # raises unless the run completes


def _comes(condition: Callable[[], bool], seconds: float) -> bool:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if condition():
            return True
        time.sleep(0.5)
    return False
