"""`ops.task_runs` records the cost of each task; recording has no other effect."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from core.clock import utc_now
from core.errors import BatchBlocked, DatabaseError
from core.roles import INGEST
from core.settings import load_settings
from expectations.thresholds import load_thresholds
from flows import ingest
from flows.run import Run, open_run
from flows.task_costs import measured, measuring
from tests.conftest import BASE_DAY, Query
from tests.e2e.interrupted import interrupt

pytestmark = pytest.mark.usefixtures("quick")

DAY = BASE_DAY
ENDPOINTS = ("tracks", "users", "listen_history")
STEPS = ("land", "shape", "stage", "audit", "publish")
HUNDRED_MB = 100 * 2**20


@pytest.fixture
def run() -> Iterator[Run]:
    """An open run of a test flow."""
    with open_run(load_settings(), load_thresholds(), "test", None, utc_now, role=INGEST) as test_run:
        yield test_run


def tasks(query: Query, run_id: int) -> list[tuple[Any, ...]]:
    """Name, object and success of each task, in the order of the run."""
    return query("select task, what, succeeded from ops.task_runs where run_id = %s order by started_at", run_id)


def assert_plausible(query: Query) -> None:
    """Assert that every figure is possible on this machine."""
    rows = query(
        "select task, seconds, cpu_seconds, peak_memory_mb,"
        " task_runs.started_at between runs.started_at and runs.finished_at"
        " from ops.task_runs join ops.runs using (run_id)"
    )
    cores = os.cpu_count() or 1
    for task, seconds, cpu_seconds, peak_memory_mb, within_run in rows:
        assert 0 < seconds < 300, task
        assert 0 <= cpu_seconds <= seconds * cores + 0.5, task
        assert 10 <= peak_memory_mb < 10_000, task
        assert within_run, task


def test_every_task_of_every_endpoint_is_recorded(query: Query) -> None:
    assert ingest.main(["--day", DAY]) == 0

    expected = [(step, f"{name}-{DAY}", True) for name in ENDPOINTS for step in STEPS]
    assert tasks(query, 1) == expected
    assert_plausible(query)

    assert ingest.main(["--day", DAY]) == 0  # the day is already published
    assert ingest.main(["--day", DAY, "--refresh", "--endpoint", "users"]) == 0

    assert tasks(query, 1) == expected
    assert tasks(query, 2) == []
    assert tasks(query, 3) == [(step, f"users-{DAY}-r2", True) for step in STEPS]


def test_failed_and_blocked_tasks_are_recorded(query: Query, capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        raise ValueError("a row")

    undo = interrupt("pipeline.staging:stage_batch", "before", 1, fail)
    try:
        assert ingest.main(["--day", DAY]) == 1
    finally:
        undo()

    rows = tasks(query, 1)
    assert [row for row in rows if not row[-1]] == [
        ("stage", f"tracks-{DAY}", False),
        ("audit", f"listen_history-{DAY}", False),
    ]
    assert len(rows) == 3 + 5 + 4
    reasons = dict(query("select endpoint, reason from ops.batches where reason is not null"))
    assert reasons["tracks"].startswith("unexpected ValueError at tests/integration/test_task_runs.py:")
    assert reasons["listen_history"].startswith("waits for tracks of the same day")
    assert capsys.readouterr().err.count("error: ") == 1


@pytest.mark.parametrize("position", ["before", "after"])
def test_lost_database_connection_gives_its_own_error(
    position: str, query: Query, postgres: str, database: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def cut_off() -> None:
        with psycopg.connect(postgres, autocommit=True) as connection:
            connection.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity"
                " where application_name = 'moovitamix' and datname = %s",
                [psycopg.conninfo.conninfo_to_dict(database)["dbname"]],
            )

    undo = interrupt("pipeline.warehouse:publish_batch", position, 1, cut_off)
    try:
        assert ingest.main(["--day", DAY]) == 1
    finally:
        undo()

    errors = capsys.readouterr().err
    assert errors.splitlines()[-1].startswith("error: Postgres cannot be reached or gave up: ")
    assert "Traceback" not in errors
    assert tasks(query, 1) == [(step, f"tracks-{DAY}", True) for step in STEPS[:-1]]


def test_measured_task_returns_and_raises_unchanged(run: Run, query: Query) -> None:
    result, blocked = object(), BatchBlocked("b", ["why"])

    @measured
    def good(run: Run, *, value: object) -> object:
        """The docstring."""
        return value

    @measured
    def bad(run: Run) -> None:
        raise blocked

    assert good(run, value=result) is result
    assert (good.__name__, good.__doc__) == ("good", "The docstring.")
    with pytest.raises(BatchBlocked) as raised:
        bad(run)
    assert raised.value is blocked
    assert raised.value.__context__ is None
    assert tasks(query, run.run_id) == [("good", "", True), ("bad", "", False)]


def test_failed_transaction_keeps_its_error(run: Run, query: Query, database: str) -> None:
    with pytest.raises(psycopg.errors.DivisionByZero), run.connection.transaction(), measuring(run, "divide"):
        run.connection.execute("select 1 / 0")
    with run.connection.transaction(), measuring(run, "succeed"):
        run.connection.execute("select 1")
    assert tasks(query, run.run_id) == []

    with psycopg.connect(database) as owner:
        owner.execute("drop table ops.task_runs")
    with measuring(run, "not recorded"):
        pass
    with pytest.raises(DatabaseError, match="its own"), measuring(run, "not recorded"):
        raise DatabaseError("its own")


def test_closed_connection_keeps_its_error(query: Query) -> None:
    @measured
    def lose(run: Run) -> None:
        run.connection.close()
        raise DatabaseError("its own")

    opening = open_run(load_settings(), load_thresholds(), "test", None, utc_now, role=INGEST)
    with pytest.raises(DatabaseError, match="its own"), opening as run:
        lose(run)
    assert query("select count(*) from ops.task_runs") == [(0,)]


def test_peak_memory_is_measured_per_task(run: Run, query: Query) -> None:
    for task in ("small", "large", "large again", "small again"):
        with measuring(run, task):
            block = b"\1" * (HUNDRED_MB if task.startswith("large") else 1)
            time.sleep(0.3)
            del block

    peaks = dict(query("select task, peak_memory_mb from ops.task_runs"))
    for task in ("large", "large again"):
        assert 90 < peaks[task] - peaks["small"] < 120
    assert abs(peaks["small again"] - peaks["small"]) < 20


def test_cpu_time_includes_ended_child_processes(run: Run, query: Query) -> None:
    with measuring(run, "sleep"):
        time.sleep(0.3)
    with measuring(run, "child"):
        work = "import time\nwhile time.process_time() < 0.5: pass"
        subprocess.run([sys.executable, "-c", work], check=True)

    cpu = dict(query("select task, cpu_seconds from ops.task_runs"))
    assert cpu["sleep"] < 0.5 <= cpu["child"]
