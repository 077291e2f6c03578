"""Retention of runs on a real Prefect server: old runs are deleted, new runs are kept, erase runs leave no data."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from prefect.events import Event
from prefect.settings import PREFECT_API_URL, temporary_settings

from core.clock import utc_now
from core.prefect_client import PrefectClient
from flows.prefect_history import prune_prefect_history
from notifications.erase_runs import delete_erase_runs
from services.local_services import LocalServices, Ports, PrefectCredentials
from tests.conftest import ROOT
from tests.e2e.test_lost_runs import _wait_until as wait_until

USER_ID = 918_273_645
KEEP = timedelta(days=30)


@dataclass
class ServerWithHistory:
    """A Prefect server as `make up` starts it, with its own DATA_DIR."""

    api: PrefectClient
    data_dir: Path

    @property
    def database(self) -> Path:
        return self.data_dir / "prefect" / "server.db"

    def run(self, flow: str, **parameters: Any) -> str:
        """Create a completed run of the flow with a log line, an artifact and an event."""
        ask = self.api.ask
        flow_id = ask("POST", "flows/", {"name": flow})["id"]
        content = {"flow_id": flow_id, "name": flow, "parameters": parameters, "state": {"type": "RUNNING"}}
        run: str = ask("POST", "flow_runs/", content)["id"]
        now = utc_now().isoformat()
        log = {"name": "a", "level": 20, "message": "a line", "timestamp": now, "flow_run_id": run}
        ask("POST", "logs/", [log])
        ask("POST", "artifacts/", {"key": "a", "type": "table", "data": "[]", "flow_run_id": run})
        resource = {"prefect.resource.id": f"prefect.flow-run.{run}"}
        event = Event(event="prefect.flow-run.heartbeat", resource=resource)  # type: ignore[arg-type]
        ask("POST", "events", [event.model_dump(mode="json")])
        ask("POST", f"flow_runs/{run}/set_state", {"state": {"type": "COMPLETED"}})
        wait_until(
            lambda: self.rows("events", "resource_id", resource["prefect.resource.id"]) == 3
        )  # Running, Completed
        return run

    def make_older(self, run: str, days: int) -> None:
        """Move the times of the run and its events into the past."""
        by = f"-{days} days"
        values = {"by": by, "run": run.replace("-", ""), "resource": f"prefect.flow-run.{run}"}
        with closing(sqlite3.connect(self.database, timeout=30)) as database, database:
            for statement in (
                "update flow_run set end_time = datetime(end_time, :by) || '.000000' where replace(id, '-', '') = :run",
                "update event_resources set occurred = datetime(occurred, :by) || '.000000'"
                " where event_id in (select id from events where resource_id = :resource)",
                "update events set occurred = datetime(occurred, :by) || '.000000' where resource_id = :resource",
            ):
                assert database.execute(statement, values).rowcount > 0

    def stored_rows(self, run: str) -> dict[str, int]:
        """The number of rows of each kind that the database has of the run."""
        by_run = {table: self.rows(table, "flow_run_id", run) for table in ("flow_run_state", "log", "artifact")}
        return by_run | {
            "flow_run": self.rows("flow_run", "id", run),
            "events": self.rows("events", "resource_id", f"prefect.flow-run.{run}"),
        }

    def rows(self, table: str, column: str, value: str) -> int:
        with closing(sqlite3.connect(self.database, timeout=30)) as database:
            parameter = value.replace("-", "") if column != "resource_id" else value
            column = f"replace({column}, '-', '')" if column != "resource_id" else column
            result = database.execute(f"select count(*) from {table} where {column} = ?", [parameter])
            return int(result.fetchone()[0])

    def files_contain(self, text: str) -> bool:
        """Whether any file of Prefect contains the text."""
        files = [path for path in (self.data_dir / "prefect").rglob("*") if path.is_file()]
        return any(text.encode() in path.read_bytes() for path in files)


@pytest.fixture(scope="module")
def server(prefect_database: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerWithHistory]:
    from core.settings import Settings
    from demo.local_services import free_ports
    from services.deploy import is_reachable

    data_dir = tmp_path_factory.mktemp("data")
    (data_dir / "prefect").mkdir()
    shutil.copy(prefect_database, data_dir / "prefect" / "server.db")
    settings = Settings(_env_file=None, data_dir=data_dir)  # type: ignore[call-arg]
    services = LocalServices(settings, Ports(prefect_server_api_port=free_ports(1)[0]), PrefectCredentials())
    [definition] = [process for process in services.processes() if process.name == "prefect-server"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    environment |= services.environment | definition.environment
    # The defaults are one hour, and one day for artifacts of deleted runs.
    environment["PREFECT_SERVER_SERVICES_DB_VACUUM_LOOP_SECONDS"] = "2"
    environment["PREFECT_SERVER_SERVICES_DB_VACUUM_ORPHAN_CLEANUP_LOOP_SECONDS"] = "2"
    with (data_dir / "server.log").open("w") as log:
        process = subprocess.Popen(definition.command, cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT)
    try:
        wait_until(lambda: is_reachable(f"{services.prefect_url}/api/health"))
        yield ServerWithHistory(PrefectClient(f"{services.prefect_url}/api"), data_dir)
    finally:
        process.terminate()
        process.wait(timeout=120)


def test_old_runs_and_their_data_are_deleted_and_new_runs_are_kept(server: ServerWithHistory) -> None:
    old, new = server.run("ingest"), server.run("ingest")
    assert all(server.stored_rows(old).values())
    server.make_older(old, 31)
    server.make_older(new, 29)
    result = server.data_dir / "prefect" / "storage" / "land tracks" / "a"
    result.parent.mkdir(parents=True)
    result.write_text("{}")
    os.utime(result, (0, 0))
    newer = result.with_name("b")
    newer.write_text("{}")
    os.utime(newer, (time.time(), time.time()))  # CLOCK_FILE and the kernel's clock can differ

    wait_until(lambda: not any(server.stored_rows(old).values()))  # the server deletes it
    assert all(server.stored_rows(new).values())
    assert prune_prefect_history(server.data_dir, KEEP)["prefect_files"] == 1
    assert (result.exists(), newer.exists()) == (False, True)
    assert server.api.ask("GET", f"flow_runs/{new}")["state_type"] == "COMPLETED"


def test_server_has_the_retention_settings_and_durable_leases(server: ServerWithHistory) -> None:
    server_settings = server.api.ask("GET", "admin/settings")["server"]
    assert server_settings["concurrency"]["lease_storage"].endswith(".filesystem")
    assert set(server_settings["services"]["db_vacuum"]["enabled"]) == {"events", "flow_runs"}
    assert server_settings["services"]["db_vacuum"]["retention_period"] == "P30D"
    assert server_settings["events"]["retention_period"] == "P30D"


def test_files_do_not_contain_an_erased_user_id(server: ServerWithHistory) -> None:
    erase_run, ingest_run = server.run("erase", user_id=USER_ID), server.run("ingest")
    assert server.files_contain(str(USER_ID))
    early = utc_now() - timedelta(minutes=10)
    assert delete_erase_runs(server.api, ended_before=early) == 0  # the result must stay readable for a while

    with temporary_settings({PREFECT_API_URL: server.api.api_url}):
        assert prune_prefect_history(server.data_dir, KEEP)["erase_runs"] == 1
    assert not server.files_contain(str(USER_ID))
    # Its events stay for a while; they contain no parameters.
    wait_until(lambda: {kind for kind, rows in server.stored_rows(erase_run).items() if rows} == {"events"})
    assert server.stored_rows(ingest_run)["flow_run"] == 1


def test_unreadable_database_is_not_changed(tmp_path: Path) -> None:
    database = tmp_path / "prefect" / "server.db"
    database.parent.mkdir()
    database.write_bytes(b"no database at all" * 100)
    assert set(prune_prefect_history(tmp_path, KEEP).values()) == {0}
    assert database.read_bytes().startswith(b"no database")


def test_compacting_reduces_the_file_of_sqlite(tmp_path: Path) -> None:
    """The file of a database with deleted rows is smaller afterwards."""
    from flows.prefect_history import _compact

    path = tmp_path / "server.db"
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("pragma journal_mode = wal")
        database.execute("create table log (message text)")
        database.executemany("insert into log values (?)", [("x" * 1000,)] * 2000)
        database.commit()
        database.execute("delete from log")
    before = path.stat().st_size
    _compact(path)
    assert path.stat().st_size < before / 10
