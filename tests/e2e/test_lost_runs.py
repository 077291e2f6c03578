"""Lost runs on a real Prefect server: they are marked, and runs that have ended keep their state."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import yaml
from prefect.events import Event

from core.clock import utc_now
from core.prefect_client import PrefectClient
from core.prefect_names import MODELS_WORK_POOL, RUN_TAG, WORK_POOL, WORK_POOLS
from demo.local_services import free_ports
from notifications.lost_runs import LostRuns, SignsOfLife, mark_as_lost, open_runs, run_ids_of_processes
from services.deploy import DeploymentError, _ensure_work_pool, is_reachable
from services.lost_runs import close_lost_runs
from tests.conftest import ROOT

SECOND = timedelta(seconds=1)


@pytest.fixture(scope="module")
def server(prefect_database: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectClient]:
    folder = tmp_path_factory.mktemp("prefect")
    shutil.copy(prefect_database, folder)
    [port] = free_ports(1)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    environment |= {"PREFECT_HOME": str(folder), "PREFECT_SERVER_ANALYTICS_ENABLED": "false", "DO_NOT_TRACK": "1"}
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    with (folder / "server.log").open("w") as log:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT)
    client = PrefectClient(f"http://127.0.0.1:{port}/api")
    try:
        _wait_until(lambda: is_reachable(f"{client.api_url}/health"))
        for pool in WORK_POOLS:
            client.ask("POST", "work_pools/", {"name": pool, "type": "process"})
        yield client
    finally:
        process.terminate()
        process.wait(timeout=120)


@dataclass
class Deployment:
    """A deployment with concurrency limit 1, and checks of its runs at a simulated time."""

    server: PrefectClient
    deployment_id: str
    signs_of_life: SignsOfLife = field(default_factory=dict)
    time_offset: timedelta = timedelta(0)
    processes: set[str] = field(default_factory=set)

    def run(self, *states: str) -> str:
        """Create a run and set these states. A worker would set the first state."""
        run_id: str = self.server.ask("POST", f"deployments/{self.deployment_id}/create_flow_run", {})["id"]
        for state in states:
            self.set_state(run_id, state)
        return run_id

    def set_state(self, run_id: str, state: str) -> None:
        self.server.ask("POST", f"flow_runs/{run_id}/set_state", {"state": {"type": state}})

    def state(self, run_id: str) -> str:
        return str(self.server.ask("GET", f"flow_runs/{run_id}")["state_type"])

    def send_worker_heartbeat(self, worker: str) -> None:
        """Send the heartbeat of a worker."""
        content = {"name": worker, "heartbeat_interval_seconds": 10}
        self.server.ask("POST", f"work_pools/{WORK_POOL}/workers/heartbeat", content)

    def send_run_heartbeat(self, run_id: str) -> None:
        """Send the heartbeat of a run."""
        resource = {"prefect.resource.id": f"prefect.flow-run.{run_id}"}
        event = Event(event="prefect.flow-run.heartbeat", resource=resource)  # type: ignore[arg-type]
        self.server.ask("POST", "events", [event.model_dump(mode="json")])
        event_filter = {
            "filter": {"id": {"id": [str(event.id)]}, "occurred": {"since": (utc_now() - 60 * SECOND).isoformat()}}
        }
        _wait_until(lambda: bool(self.server.ask("POST", "events/filter", event_filter)["events"]))

    def check(self, seconds_later: int = 0) -> list[str]:
        """Check for lost runs this many seconds after the last check. Returns the names of the marked runs."""
        self.time_offset += seconds_later * SECOND
        lost_runs = LostRuns(self.server, self._now, 60 * SECOND, lambda: self.processes)
        self.signs_of_life, marked = lost_runs.mark(self.signs_of_life)
        return marked

    def _now(self) -> datetime:
        return utc_now() + self.time_offset


@pytest.fixture
def deployment(server: PrefectClient) -> Iterator[Deployment]:
    flow = server.ask("POST", "flows/", {"name": "ingest"})["id"]
    content = {"name": uuid4().hex, "flow_id": flow, "work_pool_name": WORK_POOL, "concurrency_limit": 1}
    content |= {"tags": [RUN_TAG], "concurrency_options": {"collision_strategy": "CANCEL_NEW"}}
    yield Deployment(server, server.ask("POST", "deployments/", content)["id"])
    for run in open_runs(server, {}):
        server.ask("DELETE", f"flow_runs/{run['id']}")


def test_pending_run_without_its_worker_is_marked_and_frees_the_slot(deployment: Deployment) -> None:
    deployment.send_worker_heartbeat("first")
    run = deployment.run("PENDING")
    assert deployment.state(deployment.run("PENDING")) == "CANCELLED"  # the slot is in use
    assert deployment.check() == []
    deployment.send_worker_heartbeat("second")  # a worker that starts later does not have the run
    assert deployment.check(59) == []
    assert deployment.check(2) != []
    assert deployment.state(run) == "CRASHED"
    assert deployment.state(deployment.run("PENDING", "RUNNING", "COMPLETED")) == "COMPLETED"


def test_pending_run_is_not_lost_while_its_worker_sends_heartbeats(deployment: Deployment) -> None:
    deployment.send_worker_heartbeat("first")
    run = deployment.run("PENDING")
    for _ in range(3):
        assert deployment.check(50) == []
        deployment.send_worker_heartbeat("first")
    assert deployment.state(run) == "PENDING"


def test_running_run_is_not_lost_with_heartbeats_or_a_process(deployment: Deployment) -> None:
    run = deployment.run("PENDING", "RUNNING")
    for _ in range(2):
        deployment.send_run_heartbeat(run)
        assert deployment.check(50) == []
    deployment.processes = {run}
    assert deployment.check(50) == deployment.check(50) == []
    deployment.processes = set()
    assert deployment.check(50) == []
    assert deployment.check(20) != []
    assert deployment.state(run) == "CRASHED"


def test_command_line_run_is_marked_without_heartbeats(deployment: Deployment) -> None:
    flow = deployment.server.ask("POST", "flows/", {"name": "ingest"})["id"]
    content = {"flow_id": flow, "state": {"type": "RUNNING"}}
    foreign_run = deployment.server.ask("POST", "flow_runs/", content)["id"]  # without the project's tag
    tagged_run = deployment.server.ask("POST", "flow_runs/", content | {"tags": [RUN_TAG]})["id"]
    assert close_lost_runs(deployment.server) == 0  # checks only runs of workers
    assert deployment.check() == deployment.check(120) == []
    assert deployment.check(61) != []
    assert (deployment.state(foreign_run), deployment.state(tagged_run)) == ("RUNNING", "CRASHED")


def test_every_deployment_has_the_tag() -> None:
    deployments = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
    assert [deployment["entrypoint"] for deployment in deployments if RUN_TAG not in deployment["tags"]] == []


def test_lost_run_in_state_cancelling_is_cancelled(deployment: Deployment) -> None:
    run = deployment.run("PENDING", "RUNNING", "CANCELLING")
    deployment.check()
    deployment.check(61)
    assert deployment.state(run) == "CANCELLED"
    assert deployment.state(deployment.run("PENDING")) == "PENDING"  # the slot is free


@pytest.mark.parametrize("final_state", ["COMPLETED", "FAILED", "CANCELLED"])
def test_ended_run_keeps_its_state(deployment: Deployment, final_state: str) -> None:
    """The run ends between check and mark. Its heartbeats arrive late, and no event reports its end."""
    run = deployment.run("PENDING", "RUNNING")
    deployment.send_run_heartbeat(run)
    deployment.check()
    [outdated_run] = open_runs(deployment.server, {})
    deployment.set_state(run, final_state)
    state = deployment.server.ask("GET", f"flow_runs/{run}")["state"]
    assert not mark_as_lost(deployment.server, outdated_run, "Its process is gone.")
    deployment.send_run_heartbeat(run)
    assert deployment.check(61) == deployment.check(61) == []
    assert close_lost_runs(deployment.server) == 0
    assert deployment.server.ask("GET", f"flow_runs/{run}")["state"] == state


def test_scheduled_run_is_not_lost(deployment: Deployment) -> None:
    run = deployment.run()
    assert deployment.check() == deployment.check(600) == []
    assert deployment.state(run) == "SCHEDULED"


def test_only_a_prefect_engine_process_is_a_sign_of_life(deployment: Deployment) -> None:
    run = deployment.run("PENDING", "RUNNING")
    environment = os.environ | {"PREFECT__FLOW_RUN_ID": run}
    wait = "import time; time.sleep(600)"
    child = subprocess.Popen([sys.executable, "-c", wait], env=environment)
    try:
        assert run not in run_ids_of_processes()
        engine = subprocess.Popen([sys.executable, "-c", wait, "-m", "prefect.engine"], env=environment)
        try:
            _wait_until(lambda: run in run_ids_of_processes())
            assert close_lost_runs(deployment.server) == 0
        finally:
            engine.kill()
            engine.wait()
        assert close_lost_runs(deployment.server) == 1
        assert deployment.state(run) == "CRASHED"
    finally:
        child.kill()
        child.wait()


def _wait_until(condition: Any, seconds: float = 600) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "time limit reached"
        time.sleep(0.2)


def test_deploying_applies_the_kubernetes_job_of_a_pool_and_refuses_a_pool_of_processes(server: PrefectClient) -> None:
    """It has nothing to do with lost runs, but needs a server."""
    templates = ROOT / "deploy/kubernetes/pools"
    for pool in WORK_POOLS:  # the fixture created them for processes
        with pytest.raises(DeploymentError, match=f"prefect work-pool delete {pool}"):
            _ensure_work_pool(server.api_url, "", pool, templates)
    server.ask("DELETE", f"work_pools/{MODELS_WORK_POOL}")
    expected = yaml.safe_load((templates / f"{MODELS_WORK_POOL}.yaml").read_text())
    for _ in range(2):
        _ensure_work_pool(server.api_url, "", MODELS_WORK_POOL, templates)
        applied = server.ask("GET", f"work_pools/{MODELS_WORK_POOL}")
        assert (applied["type"], applied["base_job_template"]) == ("kubernetes", expected)
        server.ask("PATCH", f"work_pools/{MODELS_WORK_POOL}", {"base_job_template": {}})
