"""A person sees one line for an error. The traceback is in a file for maintainers."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.errors import DatabaseUnavailable, UnexpectedError, named_errors
from core.tracebacks import keep_logs_readable, message_for_user
from tests.conftest import ROOT

SECRET = "ada@example.org"


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    return tmp_path / "logs" / "tracebacks.log"


@pytest.fixture
def records(log: Path, caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    original_factory = logging.getLogRecordFactory()
    keep_logs_readable()
    yield caplog
    logging.setLogRecordFactory(original_factory)


def run_in_process(code: str, log: Path) -> subprocess.CompletedProcess[str]:
    script = f"import sys\nfrom core.exit_codes import run_main\n{textwrap.dedent(code)}"
    script += "\nsys.exit(run_main(main))"
    environment = {**os.environ, "DATA_DIR": str(log.parent.parent)}
    command = [sys.executable, "-c", script]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False)


def message_of_record(name: str, message: str, error: Exception | None = None) -> str:
    """Create a log record and return its message. No handler sends the record to Prefect's API."""
    exc_info = (type(error), error, None) if error else None
    return logging.getLogger(name).makeRecord(name, logging.ERROR, "", 1, message, (), exc_info).getMessage()


@pytest.mark.parametrize(
    "case",
    {
        "uncaught": f"""
            def main():
                raise ValueError("{SECRET}")""",
        "a thread": f"""
            import threading
            def work():
                raise ValueError("{SECRET}")
            def main():
                thread = threading.Thread(target=work); thread.start(); thread.join()""",
        "a task that nobody awaits": f"""
            import asyncio, gc
            async def work():
                raise ValueError("{SECRET}")
            async def start_task():
                asyncio.ensure_future(work()); await asyncio.sleep(0.01); gc.collect()
            def main():
                asyncio.run(start_task())""",
        "a destructor": f"""
            class Resource:
                def __del__(self):
                    raise ValueError("{SECRET}")
            def main():
                Resource()""",
        "at exit": f"""
            import atexit
            def work():
                raise ValueError("{SECRET}")
            def main():
                atexit.register(work)""",
        "a log record with the exception": f"""
            import logging
            def main():
                try:
                    raise ValueError("{SECRET}")
                except ValueError:
                    logging.getLogger("library").exception("it said %s", "{SECRET}")""",
        "a log record with the traceback in its text": f"""
            import logging, traceback
            def main():
                try:
                    raise ValueError("{SECRET}")
                except ValueError:
                    logging.getLogger("library").error(f"it failed: {{traceback.format_exc()}}")""",
        "a log record whose arguments do not fit": """
            import logging
            def main():
                logging.getLogger("library").error("%d and %d", "one")""",
        "a warning": f"""
            import warnings
            def main():
                warnings.warn("{SECRET}", UserWarning)""",
        "a group of errors": f"""
            def main():
                raise ExceptionGroup("{SECRET}", [ValueError("{SECRET}"), KeyError("{SECRET}")])""",
    }.items(),
    ids=lambda case: case[0],
)
def test_a_person_sees_at_most_one_line_and_the_file_has_no_messages(case: tuple[str, str], log: Path) -> None:
    name, code = case
    result = run_in_process(code, log)
    output = result.stdout + result.stderr
    assert "Traceback" not in output
    assert 'File "' not in output
    assert SECRET not in output
    assert len(output.splitlines()) <= 1, output
    assert result.returncode == (1 if name in ("uncaught", "a group of errors") else 0), output
    if name != "a log record whose arguments do not fit":
        traceback = log.read_text()
        assert "line " in traceback
        assert SECRET not in traceback
        assert log.stat().st_mode & 0o077 == 0


def test_ctrl_c_prints_one_line_and_exits_with_130(log: Path) -> None:
    code = f"import os, signal\ndef main():\n    os.kill(os.getpid(), {int(signal.SIGINT)})\n    input()"
    result = run_in_process(code, log)
    assert (result.returncode, result.stderr) == (130, "stopped; run it again to go on\n")


def test_a_reader_that_closes_the_pipe_causes_no_error(log: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    script = "from core.exit_codes import run_main\nraise SystemExit(run_main(lambda: print('x')))"
    environment = {**os.environ, "DATA_DIR": str(log.parent.parent)}
    result = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, env=environment, stdout=writer, stderr=subprocess.PIPE, check=False
    )
    os.close(writer)
    assert (result.returncode, result.stderr) == (1, b"")


def test_an_error_with_a_name_is_logged_as_its_message(records: pytest.LogCaptureFixture, log: Path) -> None:
    try:
        raise DatabaseUnavailable("Postgres does not answer")
    except DatabaseUnavailable:
        logging.getLogger("library").exception("Encountered exception")
    [record] = records.records
    assert (record.getMessage(), record.exc_info) == ("Postgres does not answer", None)
    assert not log.exists()


def test_the_message_of_a_defect_names_the_file_with_its_traceback(log: Path) -> None:
    with pytest.raises(UnexpectedError) as caught, named_errors():
        raise ValueError(SECRET)
    line = message_for_user(caught.value)
    assert line.startswith("unexpected ValueError at tests/integration/core/test_tracebacks.py:")
    assert line.endswith(f"; please report it; details in {log}")
    traceback = log.read_text()
    assert "builtins.ValueError" in traceback
    assert "test_tracebacks.py" in traceback
    assert SECRET not in traceback


@pytest.mark.usefixtures("records")
def test_a_task_run_logs_the_type_of_an_error_and_leaves_its_message_to_the_flow_run() -> None:
    error = DatabaseUnavailable("Postgres does not answer")
    assert message_of_record("prefect.task_runs", "it failed", error) == "Task run failed: DatabaseUnavailable"
    assert message_of_record("prefect.flow_runs", "it failed", error) == "Postgres does not answer"


@pytest.mark.usefixtures("records")
def test_the_last_record_of_a_run_leaves_the_message_of_its_state_out() -> None:
    states = ("Failed('GET http://source: answered 404')", 'Blocked("it\'s bad")', "Completed()", "Cached(type=1)")
    messages = [message_of_record("prefect.task_runs", f"Finished in state {state}") for state in states]
    assert [message.removeprefix("Finished in state ") for message in messages] == [
        *("Failed", "Blocked", "Completed()", "Cached(type=1)")
    ]


def test_without_disk_space_for_the_file_the_line_is_shown_nevertheless(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "logs").write_text("a file, where the folder should be")
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    assert message_for_user(ValueError(SECRET)) == "unexpected ValueError; please report it"


def test_the_file_is_rotated_when_it_is_large(log: Path) -> None:
    log.parent.mkdir()
    log.write_bytes(bytes(6 * 2**20))
    message_for_user(ValueError(SECRET))
    assert log.stat().st_size < 1_000
    assert log.with_name("tracebacks.log.1").exists()
