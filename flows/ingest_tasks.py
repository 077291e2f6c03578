"""The steps of a batch as Prefect tasks: thin wrappers around functions of `pipeline`, with retries and caching."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from prefect import task
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.context import TaskRunContext
from prefect.tasks import Task, exponential_backoff

from core.audits import AuditReport
from core.clock import clock_of
from core.endpoints import ENDPOINTS, LISTEN_HISTORY
from core.errors import DatabaseError, LandingError, TransientSourceError, named_errors
from core.settings import Settings
from erasure import suppression_list
from flows.run import BatchResult, Run
from flows.task_costs import measured, measuring
from pipeline import acceptance, batches, landing, quarantine, staging, transformation, warehouse
from pipeline.acceptance import Acceptance
from pipeline.batches import Batch, Counts
from pipeline.client import ApiClient
from pipeline.landing import Landing
from pipeline.reconciliation import delete_confirmed_sessions, reconcile_streamed_sessions
from pipeline.staging import StagedTables
from pipeline.transformation import TransformedBatch

_SECONDS_BETWEEN_PROGRESS = 2.0
_FUTURE_ALLOWANCE = timedelta(days=1)


def _is_transient(_task: Task[..., Any], _run: TaskRun, state: State[Any]) -> bool:
    return isinstance(state.result(raise_on_failure=False), TransientSourceError)


def _landing_key(_context: TaskRunContext, parameters: dict[str, Any]) -> str:
    batch: Batch = parameters["batch"]
    return f"land {batch.batch_id} {batch.source} {parameters['settings'].data_dir}"


@task(
    task_run_name="land-{batch.batch_id}",
    retries=1,
    retry_delay_seconds=exponential_backoff(5),
    retry_jitter_factor=0.5,
    retry_condition_fn=_is_transient,
    cache_key_fn=_landing_key,
    persist_result=True,
)
@named_errors()
def land_pages(batch: Batch, settings: Settings) -> Landing:
    """Land all pages of the snapshot. A retry continues after the pages that are landed."""
    return land_snapshot(batch, settings)


def land_snapshot(batch: Batch, settings: Settings) -> Landing:
    """Land all pages of the snapshot, and show the progress in the UI. Raises SourceError, LandingError."""
    progress = _Progress(batch)
    client = ApiClient(settings, suppression_list.read_copy(settings.data_dir) or None)
    return landing.land_snapshot(client, batch, settings, clock=clock_of(settings), progress=progress)


def land(batch: Batch, settings: Settings) -> Landing:
    """Return the raw pages of the batch, landed now or by an earlier run. Raises SourceError, LandingError."""
    land_pages(batch, settings)
    if landing.find_landing(settings.data_dir, batch) is None:  # the task result is cached, but the files are gone
        land_pages.with_options(refresh_cache=True)(batch, settings)
    landed = landing.find_landing(settings.data_dir, batch)
    if landed is None:
        raise LandingError(f"the raw pages of {batch.batch_id} were deleted while the run needed them; run it again")
    return landed


@task(task_run_name="shape-{batch.batch_id}", cache_policy=NO_CACHE)
@measured
@named_errors()
def shape(run: Run, batch: Batch, landed: Landing) -> TransformedBatch:
    """Transform the landed pages to typed rows."""
    return transform_landed_batch(run, batch, landed)


def transform_landed_batch(run: Run, batch: Batch, landed: Landing) -> TransformedBatch:
    """Transform the landed pages to typed rows, and separate rejected rows."""
    counts = Counts(rows_reported=landed.total)
    batches.record_batch(run.connection, batch, "landed", counts, started_at=landed.started_at, run_id=run.run_id)
    batches.add_batch_to_run(run.connection, run.run_id, batch)
    references = ENDPOINTS[batch.endpoint].depends_on
    is_checked = references and not run.unpublished_dependencies(batch)
    published = staging.published_ids(run.connection, references) if is_checked else None
    day_end = datetime(batch.day.year, batch.day.month, batch.day.day, tzinfo=UTC) + timedelta(days=1)
    until = max(landed.read_at, day_end)
    latest = until + _FUTURE_ALLOWANCE
    row_filter = suppression_list.read_copy(run.settings.data_dir) or None
    folder = run.shaped_folder(batch)
    return transformation.transform(
        landed, batch.endpoint, folder, published=published, latest=latest, newest_until=until, row_filter=row_filter
    )


@task(task_run_name="stage-{batch.batch_id}", cache_policy=NO_CACHE)
@measured
@named_errors()
def stage(run: Run, batch: Batch, landed: Landing, shaped: TransformedBatch) -> StagedTables:
    """Stage the rows that differ from the published ones."""
    return stage_transformed_batch(run, batch, landed, shaped)


def stage_transformed_batch(run: Run, batch: Batch, landed: Landing, shaped: TransformedBatch) -> StagedTables:
    """Copy the rows that differ from the published ones to the staging tables."""
    missing = len(run.unpublished_dependencies(batch))
    staged = staging.stage_batch(
        run.connection, batch, shaped, rows_reported=landed.total, dependencies_not_published=missing
    )
    batches.record_batch(
        run.connection, batch, "staged", staged.counts, started_at=landed.started_at, run_id=run.run_id
    )
    staging.delete_transformed(shaped.folder)
    return staged


@task(task_run_name="audit-{batch.batch_id}", cache_policy=NO_CACHE)
@named_errors()
def audit(run: Run, batch: Batch, staged: StagedTables, acceptance: Acceptance | None = None) -> AuditReport:
    """Audit the staged batch. `ops.task_runs` counts an audit that blocks as failed, unless a person accepted it."""
    with measuring(run, "audit", batch.batch_id) as task_outcome:
        report = audit_staged_batch(run, batch, staged)
        is_accepted = acceptance is not None and not acceptance.refusal(report.results)
        task_outcome.succeeded = not report.blocks or is_accepted
        return report


def audit_staged_batch(run: Run, batch: Batch, staged: StagedTables) -> AuditReport:
    """Audit the staged batch and save the audit results. The caller decides whether the batch is blocked."""
    from expectations.checkpoint import AuditTarget  # imports Great Expectations: seconds

    results = run.ensure_auditor().audit(
        AuditTarget(batch.batch_id, batch.endpoint, batch.day, staged.rows_table, staged.profile_table)
    )
    quarantine.save_audit_results(run.connection, batch, results)
    return AuditReport(batch.batch_id, tuple(results))


@task(task_run_name="publish-{batch.batch_id}", cache_policy=NO_CACHE)
@measured
@named_errors()
def publish(
    run: Run,
    batch: Batch,
    landed: Landing,
    staged: StagedTables,
    report: AuditReport,
    accepted: Acceptance | None = None,
) -> BatchResult:
    """Publish the batch."""
    return publish_staged_batch(run, batch, landed, staged, report, accepted)


def publish_staged_batch(
    run: Run,
    batch: Batch,
    landed: Landing,
    staged: StagedTables,
    report: AuditReport,
    accepted: Acceptance | None = None,
) -> BatchResult:
    """Publish the batch and the record of its acceptance, if any, in one transaction."""

    days = run.settings.stream_unconfirmed_days

    def record_with_batch() -> None:
        if accepted is not None:
            acceptance.record_acceptance(run.connection, batch, run.run_id, accepted, report.results, run.clock())
        if batch.endpoint == LISTEN_HISTORY:
            reconcile_streamed_sessions(run.connection, batch.batch_id, unconfirmed_days=days, now=run.clock())

    why = accepted.summary(report.results) if accepted else None
    status, counts = warehouse.publish_batch(
        run.connection, batch, staged,
        started_at=landed.started_at, run_id=run.run_id, clock=run.clock, reason=why, before_commit=record_with_batch,
    )  # fmt: skip
    if batch.endpoint == LISTEN_HISTORY:
        # The batch is live, and the next one deletes what is left.
        with suppress(DatabaseError):
            delete_confirmed_sessions(run.connection, confirmed_days=days, now=run.clock())
    if why is not None:
        _mark_accepted_in_docs(run, batch, why)
    return BatchResult(batch, status, counts, reason=why, results=report.results)


def _mark_accepted_in_docs(run: Run, batch: Batch, why: str) -> None:
    """Add the acceptance to the batch's page of Data Docs. A file error does not fail the run: the batch is live."""
    from expectations.data_docs import mark_accepted  # imports Great Expectations: seconds

    with suppress(OSError):
        mark_accepted(run.docs_dir, batch.batch_id, why)


class _Progress:
    """Shows in the UI how many pages of a snapshot are read. Updates at most every few seconds."""

    def __init__(self, batch: Batch, clock: Callable[[], float] = time.monotonic) -> None:
        self._batch = batch
        self._clock = clock
        self._artifact: UUID | None = None
        self._shown_at = clock()

    def __call__(self, done: int, pages: int) -> None:
        if done < pages and self._clock() - self._shown_at < _SECONDS_BETWEEN_PROGRESS:
            return
        self._shown_at = self._clock()
        percent = 100.0 * done / pages
        if self._artifact is None:
            key = self._batch.endpoint.replace("_", "-")
            self._artifact = create_progress_artifact(  # type: ignore[assignment]
                percent, key=f"pages-{key}", description=f"{self._batch.batch_id}: pages read of {pages:,}"
            )
        else:
            update_progress_artifact(self._artifact, percent)
