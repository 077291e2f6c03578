"""Runs whose process is gone, on a real Prefect server: they are marked, and one that has ended never is."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
import yaml
from prefect.events import Event

from core.clock import utc_now
from core.prefect_client import PrefectClient
from demo.local_services import free_ports
from notifications.lost_runs import TAG, LostRuns, SignsOfLife, mark_as_lost, open_runs, run_ids_of_processes
from services.deploy import is_reachable
from services.local_services import WORK_POOL
from services.lost_runs import close_lost_runs
from tests.conftest import ROOT

SECOND = timedelta(seconds=1)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectClient]:
    folder = tmp_path_factory.mktemp("prefect")
    [port] = free_ports(1)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    environment |= {"PREFECT_HOME": str(folder), "PREFECT_SERVER_ANALYTICS_ENABLED": "false", "DO_NOT_TRACK": "1"}
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    with (folder / "server.log").open("w") as log:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT)
    started = PrefectClient(f"http://127.0.0.1:{port}/api")
    try:
        _until(lambda: is_reachable(f"{started.api_url}/health"))
        started.ask("POST", "work_pools/", {"name": WORK_POOL, "type": "process"})
        yield started
    finally:
        process.terminate()
        process.wait(timeout=30)


@dataclass
class Site:
    """A deployment with one slot, and looks at its runs at any time after now."""

    server: PrefectClient
    deployment: str
    seen: SignsOfLife = field(default_factory=dict)
    later: timedelta = timedelta(0)
    processes: set[str] = field(default_factory=set)

    def run(self, *states: str) -> str:
        """A new run that goes through these states; a worker sets the first."""
        run_id: str = self.server.ask("POST", f"deployments/{self.deployment}/create_flow_run", {})["id"]
        for state in states:
            self.set_state(run_id, state)
        return run_id

    def set_state(self, run_id: str, state: str) -> None:
        self.server.ask("POST", f"flow_runs/{run_id}/set_state", {"state": {"type": state}})

    def state(self, run_id: str) -> str:
        return str(self.server.ask("GET", f"flow_runs/{run_id}")["state_type"])

    def beat(self, worker: str) -> None:
        """A worker says that it lives."""
        beat = {"name": worker, "heartbeat_interval_seconds": 10}
        self.server.ask("POST", f"work_pools/{WORK_POOL}/workers/heartbeat", beat)

    def heartbeat(self, run_id: str) -> None:
        """A run says that it lives."""
        resource = {"prefect.resource.id": f"prefect.flow-run.{run_id}"}
        event = Event(event="prefect.flow-run.heartbeat", resource=resource)  # type: ignore[arg-type]
        self.server.ask("POST", "events", [event.model_dump(mode="json")])
        wanted = {
            "filter": {"id": {"id": [str(event.id)]}, "occurred": {"since": (utc_now() - 60 * SECOND).isoformat()}}
        }
        _until(lambda: bool(self.server.ask("POST", "events/filter", wanted)["events"]))

    def look(self, seconds_later: int = 0) -> list[str]:
        """The names of the runs that are marked at a look so many seconds after the last one."""
        self.later += seconds_later * SECOND
        lost_runs = LostRuns(self.server, self._now, 60 * SECOND, lambda: self.processes)
        self.seen, marked = lost_runs.mark(self.seen)
        return marked

    def _now(self) -> datetime:
        return utc_now() + self.later


@pytest.fixture
def site(server: PrefectClient) -> Iterator[Site]:
    flow = server.ask("POST", "flows/", {"name": "ingest"})["id"]
    content = {"name": uuid4().hex, "flow_id": flow, "work_pool_name": WORK_POOL, "concurrency_limit": 1}
    content |= {"tags": [TAG], "concurrency_options": {"collision_strategy": "CANCEL_NEW"}}
    yield Site(server, server.ask("POST", "deployments/", content)["id"])
    for run in open_runs(server, {}):
        server.ask("DELETE", f"flow_runs/{run['id']}")


def test_a_pending_run_without_its_worker_is_marked_and_frees_the_slot(site: Site) -> None:
    site.beat("first")
    run = site.run("PENDING")
    assert site.state(site.run("PENDING")) == "CANCELLED"  # the slot is taken
    assert site.look() == []
    site.beat("second")  # a worker that started later did not take it
    assert site.look(59) == []
    assert site.look(2) != []
    assert site.state(run) == "CRASHED"
    assert site.state(site.run("PENDING", "RUNNING", "COMPLETED")) == "COMPLETED"


def test_a_pending_run_waits_while_its_worker_reports(site: Site) -> None:
    site.beat("first")
    run = site.run("PENDING")
    for _ in range(3):
        assert site.look(50) == []
        site.beat("first")
    assert site.state(run) == "PENDING"


def test_a_running_run_lives_while_it_sends_heartbeats_or_has_a_process(site: Site) -> None:
    run = site.run("PENDING", "RUNNING")
    for _ in range(2):
        site.heartbeat(run)
        assert site.look(50) == []
    site.processes = {run}
    assert site.look(50) == site.look(50) == []
    site.processes = set()
    assert site.look(50) == []
    assert site.look(20) != []
    assert site.state(run) == "CRASHED"


def test_a_run_of_a_command_line_is_marked_when_its_heartbeats_stay_away_for_long(site: Site) -> None:
    flow = site.server.ask("POST", "flows/", {"name": "ingest"})["id"]
    content = {"flow_id": flow, "state": {"type": "RUNNING"}}
    theirs = site.server.ask("POST", "flow_runs/", content)["id"]  # of somebody else's flow: without our tag
    ours = site.server.ask("POST", "flow_runs/", content | {"tags": [TAG]})["id"]
    assert close_lost_runs(site.server) == 0  # of workers alone
    assert site.look() == site.look(120) == []
    assert site.look(61) != []
    assert (site.state(theirs), site.state(ours)) == ("RUNNING", "CRASHED")


def test_every_deployment_has_the_tag_that_is_looked_for() -> None:
    deployments = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
    assert [one["entrypoint"] for one in deployments if TAG not in one["tags"]] == []


def test_a_run_that_was_to_be_cancelled_is_cancelled(site: Site) -> None:
    run = site.run("PENDING", "RUNNING", "CANCELLING")
    site.look()
    site.look(61)
    assert site.state(run) == "CANCELLED"
    assert site.state(site.run("PENDING")) == "PENDING"  # the slot is free


@pytest.mark.parametrize("ended", ["COMPLETED", "FAILED", "CANCELLED"])
def test_a_run_that_has_ended_keeps_its_state(site: Site, ended: str) -> None:
    """It ends between the look and the mark; its heartbeats come late, and no event tells of its end."""
    run = site.run("PENDING", "RUNNING")
    site.heartbeat(run)
    site.look()
    [as_read] = open_runs(site.server, {})
    site.set_state(run, ended)
    before = site.server.ask("GET", f"flow_runs/{run}")["state"]
    assert not mark_as_lost(site.server, as_read, "Its process is gone.")
    site.heartbeat(run)
    assert site.look(61) == site.look(61) == []
    assert close_lost_runs(site.server) == 0
    assert site.server.ask("GET", f"flow_runs/{run}")["state"] == before


def test_runs_that_wait_for_a_worker_or_a_slot_are_not_lost(site: Site) -> None:
    run = site.run()
    assert site.look() == site.look(600) == []
    assert site.state(run) == "SCHEDULED"


def test_only_prefects_own_process_is_a_sign_of_a_run(site: Site) -> None:
    run = site.run("PENDING", "RUNNING")
    environment = os.environ | {"PREFECT__FLOW_RUN_ID": run}
    wait = "import time; time.sleep(600)"
    child = subprocess.Popen([sys.executable, "-c", wait], env=environment)
    try:
        assert run not in run_ids_of_processes()
        engine = subprocess.Popen([sys.executable, "-c", wait, "-m", "prefect.engine"], env=environment)
        try:
            _until(lambda: run in run_ids_of_processes())
            assert close_lost_runs(site.server) == 0
        finally:
            engine.kill()
            engine.wait()
        assert close_lost_runs(site.server) == 1
        assert site.state(run) == "CRASHED"
    finally:
        child.kill()
        child.wait()


def _until(condition: Any, seconds: float = 120) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not come"
        time.sleep(0.2)
