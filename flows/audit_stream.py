"""Audit stream: audit the streamed sessions and fresh recommendations since the last audit.

Fresh recommendations that fail are deleted, so serving shows the published ones. Sessions that fail stay, because the
next nightly snapshot confirms or replaces them. `python -m flows.audit_stream [--hours N]` runs without a Prefect
server. Exit code 0: the audit passed, or streaming is off; 1: it failed; 2: wrong usage or settings.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Literal

from prefect import flow
from pydantic import Field

from core.audits import AuditReport, AuditTarget
from core.clock import clock_of
from core.database import take_stream_audit_lock
from core.endpoints import FRESH_RECOMMENDATIONS, STREAMED_SESSIONS, AuditedTable
from core.errors import BatchBlocked, ObjectStoreError, StreamAuditFailed, named_errors
from core.exit_codes import run_main
from core.roles import RECOMMENDER
from core.settings import load_settings
from core.tracebacks import keep_logs_readable
from expectations.thresholds import load_thresholds
from flows.command_line import run_command
from flows.failures import handle_failures
from flows.json_results import add_json_option
from flows.lineage import lineage_of_step
from flows.reports import print_stream_audit, show_stream_audit
from flows.run import Run, open_run
from flows.state_messages import ends_with
from streaming import audit

Hours = Annotated[float, Field(gt=0, le=24)]
Status = Literal["off", "passed", "warned", "failed"]
# Every failed list is deleted, so all of their keys are read.
_MAX_FAILING_KEYS = 10_000_000


@dataclass(frozen=True)
class StreamAudit:
    """The result of a run: how many sessions and lists it audited from `since` on, and a report about each table.

    `deleted_lists` is the number of lists that failed and were deleted. Without streaming there is nothing to audit:
    `status` is "off", and `since` is None.
    """

    status: Status
    since: datetime | None = None
    sessions: int = 0
    lists: int = 0
    deleted_lists: int = 0
    reports: tuple[AuditReport, ...] = ()


@flow(name="audit_stream", flow_run_name="audit_stream", validate_parameters=False)
@ends_with(
    lambda audited: (
        f"{audited.status}: {audited.sessions:,} sessions, {audited.lists:,} lists, {audited.deleted_lists:,} deleted"
    )
)
@handle_failures
def audit_stream(hours: Hours | None = None, bootstrap_servers: str = "") -> StreamAudit:
    """Audit what the stream stored, and delete the fresh recommendations that fail.

    Args:
        hours: Audit the last hours. Default: since the last audit, at most 24 hours.
        bootstrap_servers: Kafka brokers, in place of STREAM_BOOTSTRAP_SERVERS. Default: those of the settings.

    Raises StreamAuditFailed if an expectation of critical severity fails, DatabaseError.
    """
    keep_logs_readable()
    settings, thresholds = load_settings(), load_thresholds()
    if bootstrap_servers:
        settings = settings.model_copy(update={"stream_bootstrap_servers": bootstrap_servers})
    if not settings.is_streaming:
        print("streaming is off (STREAM_BOOTSTRAP_SERVERS is empty): there is nothing to audit", flush=True)
        return StreamAudit("off")
    # Ingests and trainings hold their own locks for long, and change nothing that this run compares with.
    with open_run(
        settings,
        thresholds,
        "audit_stream",
        None,
        clock_of(settings),
        role=RECOMMENDER,
        take_lock=take_stream_audit_lock,
    ) as run:
        now = run.clock()
        since = audit.find_start(run.connection, now) if hours is None else now - timedelta(hours=hours)
        result = _audit_and_delete(run, since, now)
        run.outcome = result.status
        show_stream_audit(result.reports, result.deleted_lists, run.docs, settings.data_docs_web_url)
        print_stream_audit(result.reports, result.deleted_lists)
    if result.status == "failed":
        raise StreamAuditFailed(
            [
                BatchBlocked(report.batch_id, report.critical_failures, report.results)
                for report in result.reports
                if report.blocks
            ],
            result.deleted_lists,
        )
    return result


@named_errors()
def _audit_and_delete(run: Run, since: datetime, now: datetime) -> StreamAudit:
    rows = audit.stage_stream(run.connection, run.settings, since, now)
    _record_consumer(run, rows, since, now)
    try:
        reports = {table: _audit_table(run, table, now) for table in audit.TABLES}
        audit.save_results(run.connection, list(reports.values()), now)
        deleted = _delete_failed_lists(run, reports[FRESH_RECOMMENDATIONS], now)
    finally:
        audit.drop_staged(run.connection)
    status = _status(list(reports.values()))
    return StreamAudit(
        status, since, rows[STREAMED_SESSIONS], rows[FRESH_RECOMMENDATIONS], deleted, (*reports.values(),)
    )


def _record_consumer(run: Run, rows: Mapping[AuditedTable, int], since: datetime, now: datetime) -> None:
    """Record the lineage of what consumers stored in the audited period. They send no events themselves."""
    if run.lineage is None:
        return
    if rows[STREAMED_SESSIONS]:
        run.lineage.record_step("consume_sessions", "", started_at=since, ended_at=now)
    if rows[FRESH_RECOMMENDATIONS]:
        run.lineage.record_step("recommend_to_sessions", "", started_at=since, ended_at=now)


def _delete_failed_lists(run: Run, report: AuditReport, now: datetime) -> int:
    reasons = audit.failed_lists(report)
    if not reasons:
        return 0
    with lineage_of_step(run.lineage, "delete_failed_lists", run.clock):
        return audit.delete_failed_lists(run.connection, reasons, now)


def _audit_table(run: Run, table: AuditedTable, now: datetime) -> AuditReport:
    from expectations.data_docs import delete_passed

    target = AuditTarget(audit.audit_id(table, now), table, now.date(), table, audit.profile_table(table))
    step = "audit_sessions" if table == STREAMED_SESSIONS else "audit_fresh_recommendations"
    with lineage_of_step(run.lineage, step, run.clock, target.batch_id) as step_data:
        step_data.result = results = run.ensure_auditor(_MAX_FAILING_KEYS).audit(target)
    with suppress(OSError, ObjectStoreError):  # the audit does not fail if pages cannot be deleted
        delete_passed(run.docs, table, newest=target.batch_id)
    return AuditReport(target.batch_id, tuple(results))


def _status(reports: Sequence[AuditReport]) -> Status:
    if any(report.blocks for report in reports):
        return "failed"
    return "passed" if all(result.success for report in reports for result in report.results) else "warned"


def main(arguments: Sequence[str] | None = None, *, bootstrap_servers: str = "") -> int:
    """Run the flow from a command line, and return the exit code. Brokers, if given, replace those of the settings."""
    parser = argparse.ArgumentParser(prog="python -m flows.audit_stream", description=__doc__)
    parser.add_argument("--hours", type=float, help="audit the last hours (default: since the last audit, at most 24)")
    add_json_option(parser)
    options = parser.parse_args(arguments)
    if options.hours is not None and not 0 < options.hours <= 24:
        parser.error("--hours must be above 0, and at most 24")
    return run_command(
        audit_stream,
        name="audit_stream",
        as_json=options.json,
        hours=options.hours,
        bootstrap_servers=bootstrap_servers,
    )


if __name__ == "__main__":
    sys.exit(run_main(main))
