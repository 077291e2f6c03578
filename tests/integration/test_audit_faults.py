"""Postgres goes away while Great Expectations asks it: one line, whatever the library says of it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from core import embedded_postgres
from flows.ingest import main
from tests.conftest import BASE_DAY, MockApi
from tests.e2e.interrupted import interrupt

# Where the audit is when Postgres is killed: a query of its own each, of Great Expectations or ours.
MOMENTS = {
    "counting rows": "great_expectations.execution_engine.sqlalchemy_execution_engine:"
    "SqlAlchemyExecutionEngine.resolve_metric_bundle",
    "asking a query": "great_expectations.execution_engine.sqlalchemy_execution_engine:"
    "SqlAlchemyExecutionEngine.execute_query",
    "connecting": "expectations.checkpoint:Auditor._batch_definition",
    "reading the profile": "expectations.checkpoint:_profile",
}


@pytest.fixture
def server_folder() -> Iterator[Path]:
    """Not below pytest's own folder, which is closed to Postgres's user."""
    with TemporaryDirectory(prefix="pg-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.mark.usefixtures("quick")
def test_postgres_is_killed_during_an_audit(
    api: MockApi, server_folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = server_folder

    def kill_postgres() -> None:
        number = int((folder / "postgres" / "postmaster.pid").read_text().split()[0])
        os.kill(number, signal.SIGKILL)
        time.sleep(0.5)  # its processes notice, and end

    for moment, function in MOMENTS.items():
        monkeypatch.setenv("DATABASE_URL", embedded_postgres.start(folder))
        undo = interrupt(function, "before", 1, kill_postgres)
        try:
            code = main(["--day", BASE_DAY, "--endpoint", "tracks"])
        finally:
            undo()
        told = capfd.readouterr()  # which holds no traceback: see tests/conftest.py
        assert code == 1, (moment, told)
        errors = [line for line in told.err.splitlines() if line.startswith("error: ")]
        assert errors == told.err.splitlines()[-1:], (moment, told.err)
        assert 'File "' not in told.out + told.err, moment

    monkeypatch.setenv("DATABASE_URL", embedded_postgres.start(folder))
    assert main(["--day", BASE_DAY, "--endpoint", "tracks"]) == 0
