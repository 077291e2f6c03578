"""Classify the error of a failed run: the name of its final state, and its notifications. It sends nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from core.endpoints import ENDPOINTS, FRESH_RECOMMENDATIONS
from core.errors import (
    REFUSALS,
    AlreadyRunning,
    BatchBlocked,
    LoginRefused,
    ModelFileError,
    MoovitamixError,
    PublicationError,
    SettingsError,
    StreamAuditFailed,
)
from core.runbook import RUNBOOK
from flows.run import BatchResult, IngestIncomplete
from notifications.notification import Notification

_UNAFFECTED = "published data; a failed run does not change them."


@dataclass(frozen=True)
class RunFailure:
    """Why a run failed, and the notifications about it.

    `name` and `message` are those of the final state. Prefect's automation sends `failure`. Each notification of
    `blocked` and `failed_audits` is emitted as an event. A `cause`, "database" or "disk", opens an incident.
    """

    name: Literal["Failed", "Blocked", "DependencyUnavailable", "Refused"]
    message: str
    failure: Notification | None = None
    blocked: tuple[Notification, ...] = ()
    cause: str = ""
    failed_audits: tuple[Notification, ...] = ()


def classify_failure(run: str, error: MoovitamixError, now: datetime) -> RunFailure:
    """Return the failure of a run. `run` is the name of the run."""
    if isinstance(error, IngestIncomplete):
        return _incomplete_ingest(run, error, now)
    if isinstance(error, REFUSALS):
        return RunFailure("Refused", str(error))
    if isinstance(error, BatchBlocked):
        return RunFailure("Blocked", str(error), blocked=(_blocked_recommendations(error, now),))
    if isinstance(error, StreamAuditFailed):
        audits = tuple(_failed_stream_audit(audit, error.deleted_lists, now) for audit in error.failed)
        return RunFailure("Blocked", str(error), failed_audits=audits)
    if error.cause:
        return RunFailure("DependencyUnavailable", str(error), cause=error.cause)
    return failed_run(run, str(error), runbook_section(error), now)


def failed_run(run: str, detail: str, section: str, now: datetime) -> RunFailure:
    """Return the failure of a run that no other state describes; `section` is an anchor of the runbook."""
    notification = Notification(
        key=f"failed:{run}",
        severity="critical",
        summary=f"{run} failed",
        detail=detail,
        since=now,
        unaffected=_UNAFFECTED,
        next=f"{RUNBOOK}#{section}",
    )
    return RunFailure("Failed", notification.body, failure=notification)


def _incomplete_ingest(run: str, error: IngestIncomplete, now: datetime) -> RunFailure:
    unpublished = {result.batch.endpoint for result in error.unpublished}
    waiting = [
        result
        for result in error.unpublished
        if result.status == "blocked" and unpublished & set(ENDPOINTS[result.batch.endpoint].depends_on)
    ]
    roots = [result for result in error.unpublished if result not in waiting]
    cause = next((result.cause for result in roots if result.cause), "")
    failed = [result for result in roots if result.status != "blocked" and not result.cause]
    blocked = tuple(_blocked_batch(result, waiting, now) for result in roots if result.status == "blocked")
    if failed:
        detail = f"{_reasons(failed)}{_waiting_batches(waiting)}"
        failure = failed_run(run, detail, "a-batch-failed", now)
        return RunFailure("Failed", failure.message, failure.failure, blocked, cause)
    return RunFailure("DependencyUnavailable" if cause else "Blocked", str(error), blocked=blocked, cause=cause)


def _blocked_batch(blocked: BatchResult, waiting: Sequence[BatchResult], now: datetime) -> Notification:
    batch_id = blocked.batch.batch_id
    dependent_results = [
        result for result in waiting if blocked.batch.endpoint in ENDPOINTS[result.batch.endpoint].depends_on
    ]
    return Notification(
        key=f"batch-blocked:{batch_id}",
        severity="critical",
        summary=f"{batch_id} is blocked",
        detail=f"{blocked.reason}{_waiting_batches(dependent_results)}",
        since=now,
        unaffected=f"the previously published data is live; raw pages and staged rows of {batch_id} are kept.",
        next=f"correct the source or the threshold, then run: .venv/bin/python -m flows.replay {batch_id}; "
        f"{RUNBOOK}#a-batch-is-blocked",
    )


def _blocked_recommendations(error: BatchBlocked, now: datetime) -> Notification:
    return Notification(
        key=f"batch-blocked:{error.batch_id}",
        severity="critical",
        summary=f"{error.batch_id} is blocked",
        detail="; ".join(error.failures),
        since=now,
        unaffected="the previous publication is live; the blocked recommendations are kept for a day.",
        next=f".venv/bin/python -m flows.recommend; {RUNBOOK}#recommendations-are-blocked",
    )


def _failed_stream_audit(audit: BatchBlocked, deleted_lists: int, now: datetime) -> Notification:
    """The notification about one table. Its key has the failed expectations, so each combination is sent once a day."""
    table = audit.batch_id.partition("-")[0]
    expectations = "+".join(result.expectation for result in audit.results if result.blocks)
    unaffected = (
        f"published recommendations; {deleted_lists} failed lists were deleted, so serving shows the published ones."
        if table == FRESH_RECOMMENDATIONS
        else "the warehouse: the snapshot decides which sessions are published."
    )
    return Notification(
        key=f"stream-audit:{table}:{expectations}",
        severity="critical",
        summary=f"{audit.batch_id} failed",
        detail="; ".join(audit.failures),
        since=now,
        unaffected=unaffected,
        next=f".venv/bin/moovitamix stream audit; {RUNBOOK}#an-audit-of-the-stream-failed",
    )


def _reasons(failed: Sequence[BatchResult]) -> str:
    """List each reason once, with the batches that it stopped."""
    batch_ids: dict[str | None, list[str]] = {}
    for result in failed:
        batch_ids.setdefault(result.reason, []).append(result.batch.batch_id)
    return "; ".join(f"{', '.join(ids)}: {reason}" for reason, ids in batch_ids.items())


def _waiting_batches(waiting: Sequence[BatchResult]) -> str:
    if not waiting:
        return ""
    return f"; {' and '.join(result.batch.batch_id for result in waiting)} waits for it"


def runbook_section(error: Exception) -> str:
    """Return the anchor of the section in the runbook that helps with the error."""
    sections: dict[type[Exception], str] = {
        AlreadyRunning: "another-run-is-active",
        LoginRefused: "the-database-refuses-a-login",
        ModelFileError: "a-models-file-is-missing-or-damaged",
        PublicationError: "the-live-recommendations-are-bad",
        SettingsError: "a-setting-is-wrong",
    }
    for kind, section in sections.items():
        if isinstance(error, kind):
            return section
    return "where-to-look" if isinstance(error, MoovitamixError) else "a-run-failed-because-of-a-defect"
