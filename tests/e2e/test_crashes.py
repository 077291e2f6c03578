"""The ingest or Postgres is killed at every step. A rerun gives the state of an undisturbed run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

from core import embedded_postgres
from flows import ingest_tasks
from flows.ingest import main
from tests.conftest import BASE_DAY, ROOT, MockApi, Query, temporary_database
from tests.database_state import assert_rows_add_up, database_state
from tests.e2e.interrupted import interrupt
from tests.ingest_runs import Tables, ingest_days, open_query, quick_settings, template_with_days

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
    """The content of every table after undisturbed runs of both days."""
    with temporary_database(postgres, "first_day") as database:
        return ingest_days(_mock_api, database, tmp_path_factory.mktemp("clean"), [NEXT_DAY])


@pytest.fixture
def database(first_day: Tables, postgres: str) -> Iterator[str]:
    """A database with the first day published."""
    with temporary_database(postgres, "first_day") as url:
        yield url


@pytest.fixture(autouse=True)
def quick(environment: Path, database: str, api: MockApi, monkeypatch: pytest.MonkeyPatch) -> None:
    """Short time-outs, and the source on the next day."""
    for name, value in quick_settings(api.url, database, environment).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(ingest_tasks.land_pages, "retry_delay_seconds", 0.1)
    api.set_day(NEXT_DAY)


def start_process(*command: str) -> subprocess.Popen[str]:
    """Start a process with the settings of the test and the Prefect server of the test run."""
    from prefect.settings import PREFECT_API_URL

    environment = {**os.environ, "PREFECT_API_URL": str(PREFECT_API_URL.value())}
    arguments = [sys.executable, "-m", *command, "--day", NEXT_DAY]
    return subprocess.Popen(
        arguments, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def run_and_kill(step: str, position: str, nth: int) -> None:
    """Run an ingest that is killed at this step."""
    process = start_process("tests.e2e.interrupted", "SIGKILL", step, position, str(nth))
    output = "".join(process.communicate(timeout=6000))
    assert process.returncode == -signal.SIGKILL, output
    assert "Traceback" not in output


# Each page is one file: 4 pages of tracks, 6 and then 7 of users, 10 and then 11 of sessions.
STEPS = {
    "fetching the users": ("os:fsync", "after", 10),
    "transforming": ("pipeline.transformation:_Transformer.add", "after", 3),
    "staging the users": ("pipeline.staging:compose_query|staging/tables.insert_profile", "before", 2),
    "publishing the tracks, before the commit": ("pipeline.warehouse:record_batch", "after", 1),
    "publishing the sessions, halfway": (
        "pipeline.warehouse:update_numbered_rows",
        "before",
        1,
    ),
    "publishing the sessions, before the commit": ("pipeline.warehouse:record_batch", "after", 3),
    "after publishing the tracks": ("pipeline.warehouse:publish_batch", "after", 1),
    "after publishing everything": ("pipeline.batches:finish_run", "before", 1),
}


@pytest.mark.parametrize("step", STEPS)
def test_rerun_after_a_kill_equals_an_undisturbed_run(step: str, query: Query, clean: Tables) -> None:
    run_and_kill(*STEPS[step])

    assert main(["--day", NEXT_DAY]) == 0

    assert database_state(query) == clean
    assert_rows_add_up(query)


def test_rerun_after_several_kills_equals_an_undisturbed_run(query: Query, clean: Tables) -> None:
    run_and_kill("os:fsync", "before", 3)  # the page has a temporary name
    run_and_kill("pipeline.landing:land_snapshot", "after", 1)
    run_and_kill("pipeline.staging:stage_batch", "after", 1)
    run_and_kill("expectations.checkpoint:Auditor.audit", "after", 2)

    assert main(["--day", NEXT_DAY]) == 0

    assert database_state(query) == clean


def test_kill_after_blocking_a_batch_keeps_it_blocked(
    api: MockApi, query: Query, postgres: str, tmp_path: Path
) -> None:
    half = {"endpoint": "users", "half": True}
    with temporary_database(postgres, "first_day") as other_database, pytest.MonkeyPatch.context() as patch:
        patch.setenv("DATABASE_URL", other_database)
        patch.setenv("DATA_DIR", str(tmp_path / "other"))
        api.set_faults(half)
        assert main(["--day", NEXT_DAY]) == 1
        with open_query(other_database) as other_query:
            blocked = database_state(other_query)
    run_and_kill("flows.ingest:_record_result", "after", 1)

    assert main(["--day", NEXT_DAY]) == 1

    assert database_state(query) == blocked


def test_kill_after_blocking_a_batch_that_had_failed_keeps_it_blocked(
    api: MockApi, database: str, query: Query
) -> None:
    def execute(text: str) -> None:
        with psycopg.connect(database, autocommit=True) as connection:
            connection.execute(text)

    api.set_faults({"endpoint": "users", "half": True})
    execute("alter table ops.expectation_results add constraint refused check (batch_id not like 'users%') not valid")
    assert main(["--day", NEXT_DAY]) == 1
    execute("alter table ops.expectation_results drop constraint refused")
    run_and_kill("flows.ingest:_record_result", "after", 1)

    assert main(["--day", NEXT_DAY]) == 1

    users = query("select batch_id, status from ops.batches where endpoint = 'users' and day = %s", NEXT_DAY)
    assert users == [(f"users-{NEXT_DAY}", "blocked")]


def test_rerun_after_killing_postgres_equals_an_undisturbed_run(
    api: MockApi,
    shared_folder: Path,
    capfd: pytest.CaptureFixture[str],
    first_day: Tables,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    api.set_day(DAY)
    folder = shared_folder / "server"

    def kill_postgres() -> None:
        number = int((folder / "postgres" / "postmaster.pid").read_text().split()[0])
        processes = psutil.Process(number).children()
        os.kill(number, signal.SIGKILL)
        psutil.wait_procs(processes, timeout=60)

    monkeypatch.setenv("DATABASE_URL", embedded_postgres.start(folder))
    for step, position, nth in (
        ("pipeline.staging:compose_query|staging/tables.insert_profile", "before", 1),  # while the tracks are staged
        ("expectations.checkpoint:Auditor.audit", "before", 1),
        ("pipeline.warehouse:insert_numbered_rows", "before", 1),  # while the sessions are published
        ("pipeline.batches:finish_run", "before", 1),
    ):
        undo = interrupt(step, position, nth, kill_postgres)
        code = main(["--day", DAY])
        undo()
        output = capfd.readouterr()
        assert code == 1, (step, output)
        assert "Traceback" not in output.out + output.err, step
        errors = [line for line in output.err.splitlines() if line.startswith("error: ")]
        assert len(errors) == 1, (step, output.err)
        assert "Postgres" in errors[0]
        monkeypatch.setenv("DATABASE_URL", embedded_postgres.start(folder))

    assert main(["--day", DAY]) == 0

    with open_query(os.environ["DATABASE_URL"]) as server_query:
        assert database_state(server_query) == first_day


@pytest.fixture
def small_disk(environment: Path) -> Iterator[Path]:
    """A folder for raw pages on a file system that is too small for them."""
    landing = environment / "landing"
    landing.mkdir(parents=True)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=20k", "tmpfs", landing], capture_output=True).returncode:
        pytest.skip("mounting a file system is not permitted")
    yield landing
    subprocess.run(["umount", landing], check=True)


def test_full_disk_during_landing_gives_one_error_line(
    small_disk: Path, query: Query, clean: Tables, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["--day", NEXT_DAY]) == 1

    output = capfd.readouterr()
    assert "Traceback" not in output.out + output.err
    assert [line for line in output.err.splitlines() if line.startswith("error: ")] == [output.err.splitlines()[-1]]
    assert f"raw pages cannot be written to {small_disk}" in output.err
    assert "No space left on device" in output.err
    subprocess.run(["mount", "-o", "remount,size=64m", small_disk], check=True)

    assert main(["--day", NEXT_DAY]) == 0

    assert database_state(query) == clean


def paused_ingest() -> subprocess.Popen[str]:
    """Start an ingest that stops while it publishes the users and holds the lock."""
    process = start_process("tests.e2e.interrupted", "SIGSTOP", "pipeline.warehouse:record_batch", "after", "2")
    while "T" not in Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0]:
        assert process.poll() is None, process.communicate()
        time.sleep(0.1)
    return process


def test_second_run_is_refused_during_the_first(query: Query, clean: Tables, capfd: pytest.CaptureFixture[str]) -> None:
    first = paused_ingest()

    assert main(["--day", NEXT_DAY]) == 1

    output = capfd.readouterr()
    assert output.err.splitlines()[-1] == (
        "error: another run is at work (waited 2 s); wait for it, or raise LOCK_WAIT_SECONDS"
    )
    assert "Traceback" not in output.out + output.err
    first.send_signal(signal.SIGCONT)
    out, err = first.communicate(timeout=600)
    assert (first.returncode, err) == (0, "")
    assert "listen_history-2026-12-01: published" in out
    assert database_state(query) == clean


def test_second_run_waits_and_has_nothing_to_do(
    api: MockApi, query: Query, clean: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = paused_ingest()
    monkeypatch.setenv("LOCK_WAIT_SECONDS", "600")
    second = start_process("flows.ingest")
    time.sleep(3)
    first.send_signal(signal.SIGCONT)

    first_output, second_output = first.communicate(timeout=600), second.communicate(timeout=600)

    assert (first.returncode, second.returncode) == (0, 0), (first_output, second_output)
    assert second_output[0].count("published by an earlier run, nothing to do") == 3
    assert first_output[1] == second_output[1] == ""
    assert database_state(query) == clean
    # One run fetched every page once, and once more in its final check.
    assert {entry["count"] for entry in api.request_counts()["requests"]} == {2}
