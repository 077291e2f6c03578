"""Reports of batches and audits: artifacts in Prefect's UI, and the lines that a command prints."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from prefect.artifacts import create_link_artifact, create_table_artifact

from core.audits import AuditReport
from core.errors import ObjectStoreError
from core.file_store import FileStore
from flows.run import BatchResult
from notifications.links import docs_path

_LOGGER = logging.getLogger(__name__)


def show_batches(flow: str, outcomes: Sequence[BatchResult], docs: FileStore, docs_url: str) -> None:
    """Create the artifacts of a run: rows of each batch, failed expectations, and a link to Data Docs."""
    create_table_artifact(
        key=f"{flow}-batches",
        table=[_batch_row(outcome) for outcome in outcomes],
        description=(
            "Rows of each batch: "
            "landed = rejected + erased + duplicate + superseded + conflicting + unchanged + staged."
        ),
    )
    create_table_artifact(
        key=f"{flow}-failed-expectations",
        table=_failed_expectations(outcomes),
        description="Failed expectations. A critical failure blocks the batch, a warning does not.",
    )
    link_docs(flow, docs, docs_url, {outcome.batch.endpoint: outcome.batch.batch_id for outcome in outcomes})


def link_docs(flow: str, docs: FileStore, docs_url: str, batch_ids: Mapping[str, str]) -> None:
    """Create an artifact for each audit that links to its page of Data Docs. `batch_ids` are by audited table.

    If Data Docs cannot be reached, log a warning: the batches are published by now, and the run must still emit its
    event.
    """
    for table, batch_id in batch_ids.items():
        page = docs_path(batch_id)
        try:
            exists = docs.exists(page)
        except (OSError, ObjectStoreError) as error:
            _LOGGER.warning(
                "the links to Data Docs are missing: %s cannot be read (%s)", docs.location, type(error).__name__
            )
            return
        if exists:
            create_link_artifact(
                key=f"{flow}-data-docs-{table.replace('_', '-')}",
                link=f"{docs_url.rstrip('/')}/{page}" if docs_url else docs.link_to(page),
                link_text=f"Audit of {batch_id}",
            )


def show_stream_audit(reports: Sequence[AuditReport], deleted: int, docs: FileStore, docs_url: str) -> None:
    """Create the artifacts of an audit of the stream: each failed expectation, and a link to Data Docs."""
    failed = [
        {
            "audit": report.batch_id,
            "severity": result.severity,
            "what": result.description,
            "rows": "" if result.unexpected_count is None else result.unexpected_count,
            "expectation": result.expectation,
        }
        for report in reports
        for result in report.results
        if not result.success
    ]
    create_table_artifact(
        key="audit-stream-failed-expectations",
        table=failed or [{"audit": "", "severity": "", "what": "none failed", "rows": "", "expectation": ""}],
        description=f"Failed expectations. {deleted} failed lists were deleted.",
    )
    link_docs(
        "audit-stream", docs, docs_url, {report.batch_id.partition("-")[0]: report.batch_id for report in reports}
    )


def print_stream_audit(reports: Sequence[AuditReport], deleted: int) -> None:
    """Print one line for each audit, and one for each failed expectation."""
    for report in reports:
        failures = [result for result in report.results if not result.success]
        print(f"{report.batch_id}: {len(report.results)} expectations, {len(failures)} failed", flush=True)
        for result in failures:
            print(f"{'failed' if result.blocks else 'warning'}: {result.description}", flush=True)
    if deleted:
        print(f"{deleted} fresh recommendation lists are deleted; serving shows the published ones", flush=True)


def print_batches(outcomes: Sequence[BatchResult]) -> None:
    """Print one line for each batch."""
    for outcome in outcomes:
        print(_line(outcome), flush=True)


def _line(outcome: BatchResult) -> str:
    counts = outcome.counts
    if outcome.published_earlier:
        return f"{outcome.batch.batch_id}: {outcome.status} by an earlier run, nothing to do"
    if outcome.status == "failed":
        return f"{outcome.batch.batch_id}: failed: {outcome.reason}"
    line = (
        f"{outcome.batch.batch_id}: {outcome.status}: {counts.rows_landed:,} landed, "
        f"{counts.rows_rejected:,} rejected, "
        f"{f'{counts.rows_erased:,} erased, ' if counts.rows_erased else ''}"
        f"{counts.rows_duplicate:,} duplicate, "
        f"{f'{counts.rows_superseded:,} superseded, ' if counts.rows_superseded else ''}"
        f"{f'{counts.rows_conflicting:,} conflicting, ' if counts.rows_conflicting else ''}"
        f"{counts.rows_unchanged:,} unchanged, {counts.rows_staged:,} staged, "
        f"{counts.rows_inserted:,} inserted, {counts.rows_updated:,} updated, {counts.rows_removed:,} removed"
    )
    if counts.plays_rejected:
        line += f", {counts.plays_rejected:,} plays rejected"
    warnings = sum(not result.success and result.severity == "warning" for result in outcome.results)
    if warnings:
        line += f", {warnings} warnings"
    return f"{line}: {outcome.reason}" if outcome.reason else line


def _batch_row(outcome: BatchResult) -> dict[str, Any]:
    counts = outcome.counts
    return {
        "batch": outcome.batch.batch_id,
        "state": outcome.status + (" earlier" if outcome.published_earlier else ""),
        "landed": counts.rows_landed,
        "rejected": counts.rows_rejected,
        "erased": counts.rows_erased,
        "duplicate": counts.rows_duplicate,
        "superseded": counts.rows_superseded,
        "conflicting": counts.rows_conflicting,
        "unchanged": counts.rows_unchanged,
        "staged": counts.rows_staged,
        "inserted": counts.rows_inserted,
        "updated": counts.rows_updated,
        "removed": counts.rows_removed,
        "plays rejected": counts.plays_rejected,
        "reason": outcome.reason or "",
    }


def _failed_expectations(outcomes: Sequence[BatchResult]) -> list[dict[str, Any]]:
    failed = [
        {
            "batch": outcome.batch.batch_id,
            "severity": f"{result.severity}, accepted" if result.blocks and outcome.is_published else result.severity,
            "what": result.description,
            "rows": "" if result.unexpected_count is None else result.unexpected_count,
            "expectation": result.expectation,
            "column": result.column or "",
        }
        for outcome in outcomes
        for result in outcome.results
        if not result.success
    ]
    empty_row = {"batch": "", "severity": "", "what": "none failed", "rows": "", "expectation": "", "column": ""}
    return failed or [empty_row]
