"""What a person is shown of an error, and what is kept of it for a maintainer."""

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
    before = logging.getLogRecordFactory()
    keep_logs_readable()
    yield caplog
    logging.setLogRecordFactory(before)


def in_a_process(code: str, log: Path, *words: str, **how: int) -> subprocess.CompletedProcess[str]:
    program = f"import sys\nfrom core.exit_codes import run_main\n{textwrap.dedent(code)}"
    program += "\nsys.exit(run_main(main))"
    environment = {**os.environ, "DATA_DIR": str(log.parent.parent)}
    command = [sys.executable, *words, "-c", program]
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False, **how
    )


@pytest.mark.parametrize(
    "code",
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
            async def all_of_it():
                asyncio.ensure_future(work()); await asyncio.sleep(0.01); gc.collect()
            def main():
                asyncio.run(all_of_it())""",
        "a destructor": f"""
            class Held:
                def __del__(self):
                    raise ValueError("{SECRET}")
            def main():
                Held()""",
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
    ids=lambda one: one[0],
)
def test_a_person_reads_one_line_at_most_and_the_log_no_text(code: tuple[str, str], log: Path) -> None:
    done = in_a_process(code[1], log)
    told = done.stdout + done.stderr
    assert "Traceback" not in told
    assert 'File "' not in told
    assert SECRET not in told
    assert len(told.splitlines()) <= 1, told
    assert done.returncode == (1 if code[0] in ("uncaught", "a group of errors") else 0), told
    if code[0] != "a log record whose arguments do not fit":
        kept = log.read_text()
        assert "line " in kept
        assert SECRET not in kept
        assert log.stat().st_mode & 0o077 == 0


def test_ctrl_c_is_one_line_and_130(log: Path) -> None:
    code = f"import os, signal\ndef main():\n    os.kill(os.getpid(), {int(signal.SIGINT)})\n    input()"
    done = in_a_process(code, log)
    assert (done.returncode, done.stderr) == (130, "stopped; run it again to go on\n")


def test_a_reader_that_goes_away_is_no_error(log: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    program = "from core.exit_codes import run_main\nraise SystemExit(run_main(lambda: print('x')))"
    environment = {**os.environ, "DATA_DIR": str(log.parent.parent)}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=environment, stdout=writer, stderr=subprocess.PIPE, check=False
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, b"")


def test_an_error_with_a_name_is_its_message(records: pytest.LogCaptureFixture, log: Path) -> None:
    try:
        raise DatabaseUnavailable("Postgres does not answer")
    except DatabaseUnavailable:
        logging.getLogger("library").exception("Encountered exception")
    [record] = records.records
    assert (record.getMessage(), record.exc_info) == ("Postgres does not answer", None)
    assert not log.exists()


def test_a_defect_says_where_the_rest_is(log: Path) -> None:
    with pytest.raises(UnexpectedError) as caught, named_errors():
        raise ValueError(SECRET)
    line = message_for_user(caught.value)
    assert line.startswith("unforeseen ValueError at tests/unit/core/test_tracebacks.py:")
    assert line.endswith(f"; please report it; details in {log}")
    kept = log.read_text()
    assert "builtins.ValueError" in kept
    assert "test_tracebacks.py" in kept
    assert SECRET not in kept


def test_without_room_for_the_log_the_line_is_shown_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "logs").write_text("a file, where the folder should be")
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    assert message_for_user(ValueError(SECRET)) == "unforeseen ValueError; please report it"


def test_the_log_does_not_grow_without_end(log: Path) -> None:
    log.parent.mkdir()
    log.write_bytes(bytes(6 * 2**20))
    message_for_user(ValueError(SECRET))
    assert log.stat().st_size < 1_000
    assert log.with_name("tracebacks.log.1").exists()
