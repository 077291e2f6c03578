"""The steps of a batch as Prefect tasks: thin wrappers around functions of `pipeline`, with retries and caching."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect import task
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.context import TaskRunContext
from prefect.tasks import Task, exponential_backoff

from compute.blocks import BlockRunner
from compute.runner import open_block_runner
from core.audits import AuditReport, AuditTarget
from core.clock import clock_of
from core.endpoints import ENDPOINTS, LISTEN_HISTORY
from core.errors import DatabaseError, LandingError, ObjectStoreError, TransientSourceError, named_errors
from core.settings import Settings
from core.stores import backup_store, landing_store
from erasure import suppression_list
from flows.run import BatchResult, Run
from flows.state_messages import describe_audit, describe_batches, ends_with
from flows.task_costs import measured_as, measuring
from pipeline import acceptance, batch_figures, batches, landing, quarantine, staging, transformation, warehouse
from pipeline.acceptance import Acceptance
from pipeline.batches import Batch, Counts
from pipeline.client import ApiClient
from pipeline.landing import Landing
from pipeline.published_snapshots import find_published_snapshot, find_raw_changes, shaping_digest
from pipeline.reconciliation import delete_confirmed_sessions, reconcile_streamed_sessions
from pipeline.request_rate import request_rate_of
from pipeline.row_filter import RowFilter
from pipeline.staging import StagedTables
from pipeline.transformation import PublishedIds, TransformedBatch

_SECONDS_BETWEEN_PROGRESS = 2.0
_FUTURE_ALLOWANCE = timedelta(days=1)


def _is_transient(_task: Task[..., Any], _run: TaskRun, state: State[Any]) -> bool:
    return isinstance(state.result(raise_on_failure=False), TransientSourceError)


def _landing_key(_context: TaskRunContext, parameters: dict[str, Any]) -> str:
    batch: Batch = parameters["batch"]
    return f"land {batch.batch_id} {batch.source} {landing_store(parameters['settings']).location}"


@task(
    task_run_name="land-{batch.batch_id}",
    retries=1,
    retry_delay_seconds=exponential_backoff(5),
    retry_jitter_factor=0.5,
    retry_condition_fn=_is_transient,
    cache_key_fn=_landing_key,
    persist_result=True,
)
@ends_with("{:,} rows landed".format)
@named_errors()
def land_pages(batch: Batch, settings: Settings) -> int:
    """Land all pages of the snapshot, and return the number of rows. A retry continues after the pages that are landed.

    Prefect stores the result, so it must not hold the keys of an object store.
    """
    return land_snapshot(batch, settings).rows


def land_snapshot(batch: Batch, settings: Settings) -> Landing:
    """Land all pages of the snapshot, and show the progress in the UI. Raises SourceError, LandingError."""
    progress = _Progress(batch)
    backups = backup_store(settings)
    suppressed = suppression_list.read_copy(backups)
    with request_rate_of(settings) as request_rate, _workers_of(settings) as runner:
        return landing.land_snapshot(
            ApiClient(settings, suppressed or None, request_rate),
            batch,
            settings,
            clock=clock_of(settings),
            progress=progress,
            filter_digest=suppressed.digest(),
            is_filter_current=lambda: suppression_list.read_copy(backups).entries == suppressed.entries,
            runner=runner,
        )


@contextmanager
def _workers_of(settings: Settings) -> Iterator[BlockRunner | None]:
    """The cluster, if it is set and its workers reach the landing store. Raises ClusterUnavailable."""
    if not (settings.dask_scheduler and settings.landing_url):
        yield None
        return
    with open_block_runner(settings) as runner:
        yield runner


def land_batch(batch: Batch, settings: Settings) -> Landing:
    """Return the raw pages of the batch, landed now or by an earlier run. Raises SourceError, LandingError."""
    land_pages(batch, settings)
    landed = landing.find_landing(settings, batch)
    if landed is None:  # the task result is cached, but the files are deleted
        land_pages.with_options(refresh_cache=True)(batch, settings)
        landed = landing.find_landing(settings, batch)
    if landed is None:
        raise LandingError(f"the raw pages of {batch.batch_id} were deleted while the run needed them; run it again")
    return landed


def _describe_transformed(batch: TransformedBatch) -> str:
    return f"{batch.rows_landed:,} rows read, {batch.rows_rejected:,} rejected, {batch.rows_duplicate:,} duplicate"


@task(name="transform", task_run_name="transform-{batch.batch_id}", cache_policy=NO_CACHE)
@ends_with(_describe_transformed)
@measured_as("shape")
@named_errors()
def transform_batch(run: Run, batch: Batch, landed: Landing, refresh: bool = False) -> TransformedBatch:
    """Transform the landed pages to typed rows. With `refresh`, unchanged rows are transformed too."""
    return transform_landed_batch(run, batch, landed, refresh)


def transform_landed_batch(run: Run, batch: Batch, landed: Landing, refresh: bool = False) -> TransformedBatch:
    """Transform the landed pages to typed rows, and separate rejected rows.

    Rows that the published snapshot has with the same bytes are not transformed, unless `refresh` is true.
    """
    counts = Counts(rows_reported=landed.total)
    batches.record_batch(run.connection, batch, "landed", counts, started_at=landed.started_at, run_id=run.run_id)
    batches.add_batch_to_run(run.connection, run.run_id, batch)
    references = ENDPOINTS[batch.endpoint].depends_on
    is_checked = references and not run.unpublished_dependencies(batch)
    published = staging.published_ids(run.connection, references) if is_checked else None
    day_end = datetime(batch.day.year, batch.day.month, batch.day.day, tzinfo=UTC) + timedelta(days=1)
    until = max(landed.read_at, day_end)
    latest = until + _FUTURE_ALLOWANCE
    suppressed = suppression_list.read_copy(backup_store(run.settings))
    row_filter = suppressed or None
    # Without published ids, references are not checked: other rows are valid than in other batches.
    shaping = shaping_digest(suppressed.digest()) if published is not None or not references else ""
    folder = run.shaped_folder(batch)
    if shaping and not refresh:
        changed = _transform_changes(
            run, batch, landed, folder, shaping, published=published, latest=latest, until=until, row_filter=row_filter
        )
        if changed is not None:
            return changed
    return transformation.transform(
        landed, batch.endpoint, folder, published=published, latest=latest, newest_until=until, row_filter=row_filter,
        shaping=shaping,
    )  # fmt: skip


def _transform_changes(
    run: Run,
    batch: Batch,
    landed: Landing,
    folder: Path,
    shaping: str,
    *,
    published: PublishedIds | None,
    latest: datetime,
    until: datetime,
    row_filter: RowFilter | None,
) -> TransformedBatch | None:
    """Transform only the rows that the published snapshot lacks. None if the whole batch must be transformed."""
    snapshot = find_published_snapshot(run.connection, batch.endpoint)
    if snapshot is None or snapshot.digests.shaping != shaping:
        return None
    entry = batches.find_entry(run.connection, snapshot.batch_id)
    published_landing = landing.find_landing(run.settings, entry.batch) if entry else None
    if published_landing is None:
        return None
    try:
        changes = find_raw_changes(landed, snapshot.digests, published_landing)
    except LandingError:  # if the batch's own pages cannot be read, the complete transformation reports it
        return None
    if changes is None:
        return None
    transformed = transformation.transform_changes(
        landed, batch.endpoint, folder, changes, snapshot.digests,
        published=published, latest=latest, newest_until=until, row_filter=row_filter,
    )  # fmt: skip
    return transformed and staging.recognise_rows(run.connection, transformed, snapshot)


@task(name="stage", task_run_name="stage-{batch.batch_id}", cache_policy=NO_CACHE)
@ends_with(lambda staged: f"{staged.counts.rows_staged:,} rows differ, {staged.counts.rows_unchanged:,} are unchanged")
@measured_as("stage")
@named_errors()
def stage_batch(run: Run, batch: Batch, landed: Landing, transformed: TransformedBatch) -> StagedTables:
    """Stage the rows that differ from the published ones."""
    return stage_transformed_batch(run, batch, landed, transformed)


def stage_transformed_batch(run: Run, batch: Batch, landed: Landing, transformed: TransformedBatch) -> StagedTables:
    """Copy the rows that differ from the published ones to the staging tables."""
    missing = len(run.unpublished_dependencies(batch))
    staged = staging.stage_batch(
        run.connection, batch, transformed, rows_reported=landed.total, dependencies_not_published=missing
    )
    batches.record_batch(
        run.connection, batch, "staged", staged.counts, started_at=landed.started_at, run_id=run.run_id
    )
    staging.delete_transformed(transformed.folder)
    return staged


@task(name="audit", task_run_name="audit-{batch.batch_id}", cache_policy=NO_CACHE)
@ends_with(describe_audit)
@named_errors()
def audit_batch(run: Run, batch: Batch, staged: StagedTables, acceptance: Acceptance | None = None) -> AuditReport:
    """Audit the staged batch. `ops.task_runs` counts an audit that blocks as failed, unless a person accepted it."""
    with measuring(run, "audit", batch.batch_id) as task_outcome:
        task_outcome.result = report = audit_staged_batch(run, batch, staged)
        is_accepted = acceptance is not None and not acceptance.refusal(report.results)
        task_outcome.succeeded = not report.blocks or is_accepted
        return report


def audit_staged_batch(run: Run, batch: Batch, staged: StagedTables) -> AuditReport:
    """Audit the staged batch and save the audit results. The caller decides whether the batch is blocked."""
    bounds = batch_figures.check_figures(run.connection, batch, staged)
    results = run.ensure_auditor().audit(
        AuditTarget(batch.batch_id, batch.endpoint, batch.day, staged.rows_table, staged.profile_table, tuple(bounds))
    )
    quarantine.save_audit_results(run.connection, batch, results)
    return AuditReport(batch.batch_id, tuple(results))


@task(name="publish", task_run_name="publish-{batch.batch_id}", cache_policy=NO_CACHE)
@ends_with(lambda result: describe_batches([result]))
@measured_as("publish")
@named_errors()
def publish_batch(
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

    reason = accepted.summary(report.results) if accepted else None
    status, counts = warehouse.publish_batch(
        run.connection, batch, staged,
        started_at=landed.started_at, run_id=run.run_id, clock=run.clock, reason=reason,
        before_commit=record_with_batch,
    )  # fmt: skip
    if batch.endpoint == LISTEN_HISTORY:
        # The batch is live, and the next batch deletes the remaining files.
        with suppress(DatabaseError):
            delete_confirmed_sessions(run.connection, confirmed_days=days, now=run.clock())
    if reason is not None:
        _mark_accepted_in_docs(run, batch, reason)
    return BatchResult(batch, status, counts, reason=reason, results=report.results)


def _mark_accepted_in_docs(run: Run, batch: Batch, reason: str) -> None:
    """Add the acceptance to the batch's page of Data Docs. A file error does not fail the run: the batch is live."""
    from expectations.data_docs import mark_accepted  # imports Great Expectations: seconds

    with suppress(OSError, ObjectStoreError):
        mark_accepted(run.docs, batch.batch_id, reason)


class _Progress:
    """Shows in the UI how many pages of a snapshot are read, every few seconds. A shorter extraction shows nothing."""

    def __init__(self, batch: Batch, clock: Callable[[], float] = time.monotonic) -> None:
        self._batch = batch
        self._clock = clock
        self._artifact: UUID | None = None
        self._shown_at = clock()

    def __call__(self, done: int, pages: int) -> None:
        is_last = done == pages and self._artifact is not None
        if not is_last and self._clock() - self._shown_at < _SECONDS_BETWEEN_PROGRESS:
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
