"""Postgres ends during an audit: the flow ends with a one-line error, whatever Great Expectations reports."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil
import pytest

from core import embedded_postgres
from flows.ingest import main
from tests.conftest import BASE_DAY, MockApi
from tests.e2e.interrupted import interrupt

# The step of the audit at which Postgres is killed; each step runs its own query.
STEPS = {
    "counting rows": "great_expectations.execution_engine.sqlalchemy_execution_engine:"
    "SqlAlchemyExecutionEngine.resolve_metric_bundle",
    "running a query": "great_expectations.execution_engine.sqlalchemy_execution_engine:"
    "SqlAlchemyExecutionEngine.execute_query",
    "connecting": "expectations.checkpoint:Auditor._batch_definition",
    "reading the profile": "expectations.checkpoint:_profile",
}


@pytest.fixture
def server_folder() -> Iterator[Path]:
    """A folder outside pytest's own folder, which Postgres's user cannot enter."""
    with TemporaryDirectory(prefix="pg-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.mark.usefixtures("quick")
def test_killing_postgres_during_an_audit_gives_one_error_line(
    api: MockApi, server_folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = server_folder

    def kill_postgres() -> None:
        number = int((folder / "postgres" / "postmaster.pid").read_text().split()[0])
        processes = psutil.Process(number).children()
        os.kill(number, signal.SIGKILL)
        psutil.wait_procs(processes, timeout=60)

    for step, function in STEPS.items():
        monkeypatch.setenv("DATABASE_URL", embedded_postgres.start(folder))
        undo = interrupt(function, "before", 1, kill_postgres)
        try:
            code = main(["--day", BASE_DAY, "--endpoint", "tracks"])
        finally:
            undo()
        output = capfd.readouterr()  # tests/conftest.py checks it for tracebacks
        assert code == 1, (step, output)
        errors = [line for line in output.err.splitlines() if line.startswith("error: ")]
        assert errors == output.err.splitlines()[-1:], (step, output.err)
        assert 'File "' not in output.out + output.err, step

    monkeypatch.setenv("DATABASE_URL", embedded_postgres.start(folder))
    assert main(["--day", BASE_DAY, "--endpoint", "tracks"]) == 0
