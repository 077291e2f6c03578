"""Ingest: extract, audit and publish the snapshots of one day. A batch that fails its audit is blocked.

`python -m flows.ingest [--day YYYY-MM-DD] [--endpoint NAME ...] [--refresh]` runs without a Prefect server.
Exit code 0: all published or unchanged; 1: a batch is blocked or failed; 2: wrong usage or settings.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import date, datetime

from prefect import flow
from prefect.runtime import flow_run

from core.audits import AuditReport
from core.clock import clock_of
from core.dates import Day, parse_day
from core.endpoints import ENDPOINTS, Endpoint
from core.errors import (
    ComputeError,
    DatabaseError,
    LandingError,
    MoovitamixError,
    SettingsError,
    SourceError,
    StatementRefused,
    UnexpectedError,
    UsageError,
)
from core.exit_codes import run_main
from core.roles import INGEST
from core.settings import Settings, load_settings
from core.stores import backup_store
from core.tracebacks import keep_logs_readable
from erasure import suppression_list
from expectations.thresholds import load_thresholds
from flows.command_line import run_command
from flows.events import emit_warehouse_published, emit_warehouse_unchanged
from flows.failures import handle_failures
from flows.ingest_tasks import audit_batch, land_batch, publish_batch, stage_batch, transform_batch
from flows.json_results import add_json_option
from flows.reports import print_batches, show_batches
from flows.run import BatchResult, Run, open_run
from flows.state_messages import describe_batches, ends_with
from flows.task_costs import measuring
from pipeline import batches, landing, staging
from pipeline.acceptance import Acceptance
from pipeline.batches import Batch, Counts, LedgerEntry
from pipeline.client import check_network
from pipeline.landing import Landing
from recommender.publishing import publication

# This expectation of listen_history is replaced by a reason that names the endpoints.
DEPENDENCIES = "dependencies_are_published"
# Later days would overflow `date` in calculations.
_LAST_DAY = date(9998, 12, 31)


def _run_name() -> str:
    day = flow_run.parameters.get("day")
    if day is None:
        with suppress(SettingsError):  # the run reports it
            day = clock_of(load_settings())().date()
    return f"ingest-{day}"


@flow(name="ingest", flow_run_name=_run_name, validate_parameters=False)
@ends_with(describe_batches)
@handle_failures
def ingest(day: Day | None = None, endpoints: list[Endpoint] | None = None, refresh: bool = False) -> list[BatchResult]:
    """Extract, audit and publish the snapshots of one day.

    Args:
        day: Day of the batches. Default: today in UTC.
        endpoints: Endpoints to extract. Default: all.
        refresh: Extract again what is already published.

    Raises IngestIncomplete if a batch is blocked or failed; the other batches are published.
    """
    keep_logs_readable()
    settings, thresholds = load_settings(), load_thresholds()
    day = day or clock_of(settings)().date()
    if day > _LAST_DAY:
        raise UsageError(f"{day} is too far in the future for a batch")
    ordered_endpoints = [endpoint for endpoint in ENDPOINTS if endpoint in (endpoints or ENDPOINTS)]
    try:
        with open_run(settings, thresholds, "ingest", day, clock_of(settings), role=INGEST) as run:
            for endpoint in ordered_endpoints:
                run.outcomes.append(_ingest_endpoint(run, Batch(endpoint, day, settings.source), refresh))
            show_batches("ingest", run.outcomes, run.docs, settings.data_docs_web_url)
            print_batches(run.outcomes)
            if not emit_warehouse_published(run.outcomes, publication.is_outdated(run.connection, run.clock())):
                emit_warehouse_unchanged(run.outcomes)
            run.raise_if_incomplete()
            return run.outcomes
    except DatabaseError:
        _land_without_database(settings, ordered_endpoints, day)
        raise


def _ingest_endpoint(run: Run, batch: Batch, refresh: bool) -> BatchResult:
    entry = batches.latest_entry(run.connection, batch.endpoint, batch.day)
    batch, done = batches.choose_revision(entry, batch, refresh=refresh)
    if done and entry is not None:
        return BatchResult(batch, entry.status, entry.counts, published_earlier=True)
    started_at = run.clock()
    run.ensure_auditor()
    try:
        suppression_list.synchronize_copy(run.connection, backup_store(run.settings))
        batch = _revision_to_process(run, batch, entry, refresh)
        with measuring(run, "land", batch.batch_id) as task_outcome:
            task_outcome.result = landed = land_batch(batch, run.settings)
        return process_batch(run, batch, landed, refresh=refresh)
    except (SourceError, LandingError, ComputeError, StatementRefused, UnexpectedError) as error:
        failed = BatchResult(batch, "failed", Counts(), reason=str(error), cause=error.cause)
        return _record_result(run, batch, failed, started_at, run.run_id)


def _revision_to_process(run: Run, batch: Batch, entry: LedgerEntry | None, refresh: bool) -> Batch:
    """Return the batch, or its next revision if its landed pages are older than a batch that is published since."""
    landed = landing.find_landing(run.settings, batch)
    if landed:
        # Pages that were landed without a database belong to no run.
        is_recorded = entry is not None and entry.batch == batch and entry.started_at == landed.started_at
        read_in_run = entry.read_in_run if entry and is_recorded else None
        newer_batch = batches.newer_published_batch(run.connection, batch, landed.started_at, read_in_run, run.clock())
    if landed and newer_batch:
        reason = f"its snapshot is older than that of {newer_batch}, which is published; the day is extracted again"
        result = BatchResult(batch, "failed", Counts(), reason=reason)
        _record_result(run, batch, result, landed.started_at, read_in_run)
        return replace(batch, revision=batch.revision + 1)
    if refresh:
        landing.delete_landing(run.settings, batch)
    return batch


def process_batch(
    run: Run, batch: Batch, landed: Landing, acceptance: Acceptance | None = None, *, refresh: bool = False
) -> BatchResult:
    """Transform, stage and audit a landed batch. Publish it if it passes or the acceptance covers its failures.

    With `refresh`, rows that the published snapshot also has are transformed and compared again.
    """
    transformed = transform_batch(run, batch, landed, refresh)
    staged = stage_batch(run, batch, landed, transformed)
    report = audit_batch(run, batch, staged, acceptance)
    if not report.blocks:
        return publish_batch(run, batch, landed, staged, report)
    refusal = acceptance.refusal(report.results) if acceptance else ""
    if acceptance and not refusal:
        return publish_batch(run, batch, landed, staged, report, acceptance)
    reason = "; ".join([*([refusal] if refusal else []), *_blocking_reasons(run, batch, report)])
    blocked = BatchResult(batch, "blocked", staged.counts, reason=reason, results=report.results)
    return _record_result(run, batch, blocked, landed.started_at, run.run_id)


def _blocking_reasons(run: Run, batch: Batch, report: AuditReport) -> list[str]:
    """Return the failures that block the batch, first the unpublished endpoints that it depends on."""
    missing = run.unpublished_dependencies(batch)
    if not missing:
        return list(report.critical_failures)
    waits = f"waits for {' and '.join(missing)} of the same day, which are not published"
    failures = [result for result in report.results if result.blocks and result.expectation != DEPENDENCIES]
    return [waits, *(failure.description for failure in failures)]


def _record_result(
    run: Run, batch: Batch, outcome: BatchResult, started_at: datetime, read_in_run: int | None
) -> BatchResult:
    """Record the result of a batch that is not published."""
    if outcome.status == "failed":
        staging.delete_rejected_rows(run.connection, batch)
    batches.record_batch(
        run.connection,
        batch,
        outcome.status,
        outcome.counts,
        started_at=started_at,
        run_id=read_in_run,
        finished_at=run.clock(),
        reason=outcome.reason,
    )
    return outcome


def _land_without_database(settings: Settings, endpoints: Sequence[Endpoint], day: date) -> None:
    """Land the raw pages although the database is unavailable. The next run of the day continues with them."""
    for endpoint in endpoints:
        batch = Batch(endpoint, day, settings.source)
        try:
            batch = landing.unclaimed_revision(settings, batch)
            landed = land_batch(batch, settings)
        except MoovitamixError as error:
            print(f"{batch.batch_id}: {error}", flush=True)
        else:
            print(f"{batch.batch_id}: {landed.rows:,} raw rows kept in {landed.location} for the next run", flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the flow from a command line, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m flows.ingest", description=__doc__)
    parser.add_argument("--day", type=_day, help="day of the batches, as YYYY-MM-DD (default: today in UTC)")
    parser.add_argument("--endpoint", action="append", choices=ENDPOINTS, help="only this endpoint; may be repeated")
    parser.add_argument("--refresh", action="store_true", help="extract again what is already published")
    add_json_option(parser)
    options = parser.parse_args(arguments)
    return run_command(
        ingest,
        name="ingest",
        audits=True,
        as_json=options.json,
        result_name="batches",
        check_settings=check_network,
        day=options.day,
        endpoints=options.endpoint,
        refresh=options.refresh,
    )


def _day(text: str) -> date:
    try:
        return parse_day(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a day of the form YYYY-MM-DD") from None


if __name__ == "__main__":
    sys.exit(run_main(main))
