"""Kill -9 of the ingest at every step, and of Postgres: a plain re-run ends in the state of one clean run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from core import embedded_postgres
from flows import ingest_tasks
from flows.ingest import main
from tests.conftest import BASE_DAY, ROOT, MockApi, Query
from tests.database_state import assert_rows_add_up, database_state
from tests.e2e.interrupted import interrupt
from tests.ingest_runs import (
    Tables,
    ingest_days,
    open_query,
    quick_settings,
    template_with_days,
    temporary_database,
)

DAY, NEXT_DAY = BASE_DAY, "2026-12-01"


@pytest.fixture(scope="module")
def first_day(
    prefect_server: None, postgres: str, _template: str, _mock_api: MockApi, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Tables]:
    with template_with_days(
        postgres, "first_day", _mock_api, tmp_path_factory.mktemp("first"), _template, [DAY]
    ) as tables:
        yield tables


@pytest.fixture(scope="module")
def clean(first_day: Tables, postgres: str, _mock_api: MockApi, tmp_path_factory: pytest.TempPathFactory) -> Tables:
    """Every table after clean runs of both days: new rows, changed, removed ones, and a month more."""
    with temporary_database(postgres, "first_day") as database:
        return ingest_days(_mock_api, database, tmp_path_factory.mktemp("clean"), [NEXT_DAY])


@pytest.fixture
def database(first_day: Tables, postgres: str) -> Iterator[str]:
    """A database in which the first day is published."""
    with temporary_database(postgres, "first_day") as url:
        yield url


@pytest.fixture(autouse=True)
def quick(environment: Path, database: str, api: MockApi, monkeypatch: pytest.MonkeyPatch) -> None:
    """Short time-outs; the source stands on the next day."""
    for name, value in quick_settings(api.url, database, environment).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(ingest_tasks.land_pages, "retry_delay_seconds", 0.1)
    api.set_day(NEXT_DAY)


def child(*command: str) -> subprocess.Popen[str]:
    """A process with the settings of the test, which uses the Prefect server of the test run."""
    from prefect.settings import PREFECT_API_URL

    environment = {**os.environ, "PREFECT_API_URL": str(PREFECT_API_URL.value())}
    arguments = [sys.executable, "-m", *command, "--day", NEXT_DAY]
    return subprocess.Popen(
        arguments, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def killed_at(step: str, when: str, nth: int) -> None:
    """An ingest that is killed there, and did not end before."""
    process = child("tests.e2e.interrupted", "SIGKILL", step, when, str(nth))
    told = "".join(process.communicate(timeout=120))
    assert process.returncode == -signal.SIGKILL, told
    assert "Traceback" not in told


# 4 pages of tracks, 6 and then 7 of users, 10 and then 11 of listens; each is a file of its own.
STEPS = {
    "fetching the users": ("os:fsync", "after", 10),
    "shaping": ("pipeline.transformation:_Shaper.add", "after", 3),
    "staging the users": ("pipeline.staging:compose_query|staging/tables.insert_profile", "before", 2),
    "publishing the tracks, all but committed": ("pipeline.warehouse:record_batch", "after", 1),
    "publishing the listens, in the middle": (
        "pipeline.warehouse:update_numbered_rows",
        "before",
        1,
    ),
    "publishing the listens, all but committed": ("pipeline.warehouse:record_batch", "after", 3),
    "the tracks are published": ("pipeline.warehouse:publish_batch", "after", 1),
    "everything is published": ("pipeline.batches:finish_run", "before", 1),
}


@pytest.mark.parametrize("step", STEPS)
def test_killed_while(step: str, query: Query, clean: Tables) -> None:
    killed_at(*STEPS[step])

    assert main(["--day", NEXT_DAY]) == 0

    assert database_state(query) == clean
    assert_rows_add_up(query)


def test_killed_again_and_again_each_time_a_step_further(query: Query, clean: Tables) -> None:
    killed_at("os:fsync", "before", 3)  # a page is written, and not yet under its name
    killed_at("pipeline.landing:land_snapshot", "after", 1)
    killed_at("pipeline.staging:stage_batch", "after", 1)
    killed_at("expectations.checkpoint:Auditor.audit", "after", 2)

    assert main(["--day", NEXT_DAY]) == 0

    assert database_state(query) == clean


def test_killed_when_a_batch_was_just_blocked(api: MockApi, query: Query, postgres: str, tmp_path: Path) -> None:
    half = {"endpoint": "users", "half": True}
    with temporary_database(postgres, "first_day") as other, pytest.MonkeyPatch.context() as patch:
        patch.setenv("DATABASE_URL", other)
        patch.setenv("DATA_DIR", str(tmp_path / "other"))
        api.set_faults(half)
        assert main(["--day", NEXT_DAY]) == 1
        with open_query(other) as ask:
            blocked = database_state(ask)
    killed_at("flows.ingest:_record_result", "after", 1)

    assert main(["--day", NEXT_DAY]) == 1

    assert database_state(query) == blocked


def test_killed_when_a_batch_was_just_blocked_that_had_failed_before(api: MockApi, database: str, query: Query) -> None:
    def tell(text: str) -> None:
        with psycopg.connect(database, autocommit=True) as connection:
            connection.execute(text)

    api.set_faults({"endpoint": "users", "half": True})
    tell("alter table ops.expectation_results add constraint refused check (batch_id not like 'users%') not valid")
    assert main(["--day", NEXT_DAY]) == 1
    tell("alter table ops.expectation_results drop constraint refused")
    killed_at("flows.ingest:_record_result", "after", 1)

    assert main(["--day", NEXT_DAY]) == 1

    users = query("select batch_id, status from ops.batches where endpoint = 'users' and day = %s", NEXT_DAY)
    assert users == [(f"users-{NEXT_DAY}", "blocked")]


def test_postgres_is_killed_at_every_step(
    api: MockApi,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    first_day: Tables,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    api.set_day(DAY)
    folder = tmp_path / "server"

    def kill_postgres() -> None:
        number = int((folder / "postgres" / "postmaster.pid").read_text().split()[0])
        os.kill(number, signal.SIGKILL)
        time.sleep(0.5)  # its processes notice, and end

    monkeypatch.setenv("DATABASE_URL", embedded_postgres.start(folder))
    for step, when, nth in (
        ("pipeline.staging:compose_query|staging/tables.insert_profile", "before", 1),  # the tracks are being staged
        ("expectations.checkpoint:Auditor.audit", "before", 1),
        (
            "pipeline.warehouse:update_numbered_rows",
            "before",
            1,
        ),  # tracks and users are published, listens are being
        ("pipeline.batches:finish_run", "before", 1),
    ):
        undo = interrupt(step, when, nth, kill_postgres)
        code = main(["--day", DAY])
        undo()
        told = capfd.readouterr()
        assert code == 1, (step, told)
        assert "Traceback" not in told.out + told.err, step
        errors = [line for line in told.err.splitlines() if line.startswith("error: ")]
        assert len(errors) == 1, (step, told.err)
        assert "Postgres" in errors[0]
        monkeypatch.setenv("DATABASE_URL", embedded_postgres.start(folder))

    assert main(["--day", DAY]) == 0

    with open_query(os.environ["DATABASE_URL"]) as ask:
        assert database_state(ask) == first_day


@pytest.fixture
def small_disk(environment: Path) -> Iterator[Path]:
    """A folder for raw pages on a file system of its own, which they fill."""
    landing = environment / "landing"
    landing.mkdir(parents=True)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=20k", "tmpfs", landing], capture_output=True).returncode:
        pytest.skip("mounting a small file system is not permitted here")
    yield landing
    subprocess.run(["umount", landing], check=True)


def test_the_disk_is_full_while_landing(
    small_disk: Path, query: Query, clean: Tables, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["--day", NEXT_DAY]) == 1

    told = capfd.readouterr()
    assert "Traceback" not in told.out + told.err
    assert [line for line in told.err.splitlines() if line.startswith("error: ")] == [told.err.splitlines()[-1]]
    assert f"raw pages cannot be written to {small_disk}" in told.err
    assert "No space left on device" in told.err
    subprocess.run(["mount", "-o", "remount,size=64m", small_disk], check=True)

    assert main(["--day", NEXT_DAY]) == 0

    assert database_state(query) == clean


def paused_ingest() -> subprocess.Popen[str]:
    """An ingest that stands still in the middle of publishing the users, with the lock in its hands."""
    process = child("tests.e2e.interrupted", "SIGSTOP", "pipeline.warehouse:record_batch", "after", "2")
    while "T" not in Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0]:
        assert process.poll() is None, process.communicate()
        time.sleep(0.1)
    return process


def test_a_second_run_says_that_the_first_is_at_work(
    query: Query, clean: Tables, capfd: pytest.CaptureFixture[str]
) -> None:
    first = paused_ingest()

    assert main(["--day", NEXT_DAY]) == 1

    told = capfd.readouterr()
    assert told.err.splitlines()[-1] == (
        "error: another run is at work (waited 2 s); wait for it, or raise LOCK_WAIT_SECONDS"
    )
    assert "Traceback" not in told.out + told.err
    first.send_signal(signal.SIGCONT)
    out, err = first.communicate(timeout=60)
    assert (first.returncode, err) == (0, "")
    assert "listen_history-2026-12-01: published" in out
    assert database_state(query) == clean


def test_a_second_run_waits_and_finds_nothing_to_do(
    api: MockApi, query: Query, clean: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = paused_ingest()
    monkeypatch.setenv("LOCK_WAIT_SECONDS", "60")
    second = child("flows.ingest")
    time.sleep(3)
    first.send_signal(signal.SIGCONT)

    first_told, second_told = first.communicate(timeout=60), second.communicate(timeout=60)

    assert (first.returncode, second.returncode) == (0, 0), (first_told, second_told)
    assert second_told[0].count("published by an earlier run, nothing to do") == 3
    assert first_told[1] == second_told[1] == ""
    assert database_state(query) == clean
    # Read once by one run, and looked at once more at its end.
    assert {entry["count"] for entry in api.request_counts()["requests"]} == {2}
