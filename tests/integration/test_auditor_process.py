"""The process that audits for a command: it gives the same results, reports errors, and ends with the run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from datetime import date

import pytest
from prefect.settings import PREFECT_API_URL

from core.audits import AuditTarget
from core.data_layout import DataLayout
from core.endpoints import TRACKS
from core.errors import DatabaseError
from core.settings import load_settings
from expectations.auditor_process import AuditorOptions, AuditorProcess, AuditorProcessEnded
from expectations.thresholds import load_thresholds
from flows.ingest import main
from tests.child_processes import children_running
from tests.conftest import BASE_DAY, ROOT, Query

pytestmark = pytest.mark.usefixtures("quick")

RESULTS = (
    "select split_part(batch_id, '-', 1), expectation from ops.expectation_results where batch_id like %s order by 1, 2"
)
TARGET = AuditTarget("tracks-2026-11-22", TRACKS, date(2026, 11, 22), "no_rows", "no_profile")


def auditor_process(database: str) -> AuditorProcess:
    process = AuditorProcess()
    process.open(AuditorOptions(database, load_settings(), load_thresholds()))
    return process


def test_a_command_audits_in_another_process_with_the_same_rules(query: Query) -> None:
    environment = {**os.environ, "PREFECT_API_URL": str(PREFECT_API_URL.value())}
    command = [sys.executable, "-X", "importtime", "-m", "flows.ingest", "--day", BASE_DAY]
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout
    imported = {line.rpartition("|")[2].strip() for line in result.stderr.splitlines()}
    assert "prefect" in imported
    assert "great_expectations" not in imported
    assert query("select task, what from ops.task_runs where task = 'audit' and cpu_seconds < 0.05") == []
    results = query(RESULTS, f"%{BASE_DAY}")
    assert {endpoint for endpoint, _ in results} == {"tracks", "users", "listen_history"}

    assert main(["--day", BASE_DAY, "--refresh"]) == 0

    assert query(RESULTS, f"%{BASE_DAY}-r2") == results


def test_an_error_of_an_audit_reaches_the_run(database: str) -> None:
    with auditor_process(database) as auditor:
        for _ in range(2):  # it answers again after an error
            with pytest.raises(DatabaseError, match=r"could not be audited \(TestConnectionError\)"):
                auditor.audit(TARGET)
        assert auditor.cpu_seconds > 0
    assert "TestConnectionError" in (DataLayout(load_settings().data_dir).logs / "tracebacks.log").read_text()


def test_a_killed_process_gives_one_line_with_the_next_step(database: str) -> None:
    with auditor_process(database) as auditor:
        [process] = children_running("expectations.auditor_process")
        process.send_signal(signal.SIGKILL)
        with pytest.raises(AuditorProcessEnded, match=r"exit code -9, .*; run the command again"):
            auditor.audit(TARGET)


def test_the_process_ends_when_its_run_is_killed(database: str) -> None:
    auditor = auditor_process(database)
    [process] = children_running("expectations.auditor_process")
    auditor._connection.close()  # as the system does
    assert process.wait(timeout=60) == 0
    auditor.stop()
