"""A run of a flow: its settings, database connection, lock, and row in ops.runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from compute.blocks import BlockRunner
from compute.runner import open_block_runner
from core.audits import ExpectationResult
from core.clock import Clock
from core.data_layout import DataLayout
from core.database import (
    Connection,
    connect,
    take_warehouse_lock,
)
from core.endpoints import ENDPOINTS
from core.errors import REFUSALS, DatabaseError, MoovitamixError
from core.file_store import FileStore
from core.roles import Role, ensure_schema, ensure_schema_for_role
from core.settings import Settings
from core.stores import docs_store, model_store
from expectations.auditor_process import AuditorOptions
from expectations.thresholds import Thresholds
from flows.auditors import BatchAuditor, open_auditor
from flows.lineage import open_lineage
from pipeline import batches
from pipeline.batches import PUBLISHED_STATUSES, Batch, Counts, Status

if TYPE_CHECKING:
    from flows.lineage_events import LineageRecorder


class IngestIncomplete(MoovitamixError):
    """A batch is blocked or failed. `batches` holds all results, `unpublished` those of blocked and failed batches."""

    def __init__(self, unpublished: Sequence[BatchResult], batches: Sequence[BatchResult] = ()) -> None:
        super().__init__(
            "; ".join(f"{result.batch.batch_id} {result.status}: {result.reason}" for result in unpublished)
        )
        self.unpublished = tuple(unpublished)
        self.batches = tuple(batches or unpublished)


@dataclass(frozen=True)
class BatchResult:
    """The result of one batch in a run. With `published_earlier`, an earlier run published it and nothing was done.

    `cause` names the dependency that failed, "database" or "disk", if that is the reason; see MoovitamixError.
    """

    batch: Batch
    status: Status
    counts: Counts
    reason: str | None = None
    results: tuple[ExpectationResult, ...] = ()
    published_earlier: bool = False
    cause: str = ""

    @property
    def is_published(self) -> bool:
        return self.status in PUBLISHED_STATUSES


@dataclass
class Run:
    """One run of a flow, from the moment it holds the warehouse lock."""

    flow: str
    settings: Settings
    thresholds: Thresholds
    clock: Clock
    url: str
    connection: Connection
    run_id: int
    started_at: datetime
    at_end: ExitStack
    outcomes: list[BatchResult] = field(default_factory=list)
    outcome: str = ""  # one word for ops.runs, if the run has no batches
    lineage: LineageRecorder | None = None
    _auditor: BatchAuditor | None = None
    _block_runner: BlockRunner | None = None

    @property
    def models(self) -> FileStore:
        return model_store(self.settings)

    @property
    def docs(self) -> FileStore:
        return docs_store(self.settings)

    def ensure_auditor(self, max_failing_keys: int = 1_000) -> BatchAuditor:
        """Let the auditor get ready at the first call, without a wait. It is closed with the run."""
        if self._auditor is None:
            options = AuditorOptions(self.url, self.settings, self.thresholds, max_failing_keys)
            self._auditor = open_auditor(options, self.clock, self.at_end)
        return self._auditor

    def ensure_block_runner(self) -> BlockRunner:
        """Connect to the Dask cluster of DASK_SCHEDULER at the first call; without it, blocks run in this process.

        Raises ClusterUnavailable.
        """
        if self._block_runner is None:
            self._block_runner = self.at_end.enter_context(open_block_runner(self.settings))
        return self._block_runner

    def shaped_folder(self, batch: Batch) -> Path:
        """Return the folder of the batch's transformed rows. It is deleted after staging."""
        return DataLayout(self.settings.data_dir).shaped / batch.batch_id

    def unpublished_dependencies(self, batch: Batch) -> list[str]:
        """Return the endpoints that the batch depends on and that are not published for its day.

        The result of this run counts. If this run has none, the result of the last run counts.
        """
        unpublished = {outcome.batch.endpoint: not outcome.is_published for outcome in self.outcomes}
        for name in ENDPOINTS[batch.endpoint].depends_on:
            if name not in unpublished:
                unpublished[name] = batches.is_unpublished(self.connection, name, batch.day)
        return [name for name in ENDPOINTS[batch.endpoint].depends_on if unpublished[name]]

    def raise_if_incomplete(self) -> None:
        """Raise IngestIncomplete if a batch is blocked or failed."""
        unpublished = [outcome for outcome in self.outcomes if not outcome.is_published]
        if unpublished:
            raise IngestIncomplete(unpublished, self.outcomes)


@contextmanager
def open_run(
    settings: Settings,
    thresholds: Thresholds,
    flow: str,
    day: date | None,
    clock: Clock,
    *,
    role: Role | None,
    take_lock: Callable[[Connection, float], None] = take_warehouse_lock,
) -> Iterator[Run]:
    """Connect in the role, take the lock, and record the start and the end of the run.

    Without a role, the run connects as the owner of the schema and migrates it. With another lock than the warehouse
    lock, ingests can run meanwhile. Raises DatabaseError, AlreadyRunning.
    """
    url = ensure_schema(settings) if role is None else ensure_schema_for_role(settings, role)
    with ExitStack() as at_end:
        connection = at_end.enter_context(connect(url))
        take_lock(connection, settings.lock_wait_seconds)
        if clock_problem := batches.clock_problem(connection, clock()):
            print(f"warning: {clock_problem}", flush=True)
        started_at = clock()
        run_id = batches.start_run(connection, flow, day, started_at)
        run = Run(flow, settings, thresholds, clock, url, connection, run_id, started_at, at_end)
        run.lineage = open_lineage(
            flow=flow,
            run_id=run_id,
            connection=connection,
            settings=settings,
            clock=clock,
        )
        try:
            yield run
        except BaseException as error:
            if run.lineage is not None:
                run.lineage.finish(error)
            outcome = "refused" if isinstance(error, REFUSALS) else "failed"
            with suppress(DatabaseError):  # if the database failed, the run stays open in the ledger
                batches.finish_run(connection, run_id, outcome, clock())
            raise
        batches.finish_run(connection, run_id, run.outcome or summary(run.outcomes), clock())
        if run.lineage is not None:
            run.lineage.finish(None)


def summary(outcomes: Sequence[BatchResult]) -> str:
    """Return the worst status of the batches."""
    statuses = {outcome.status for outcome in outcomes}
    return next((status for status in ("failed", "blocked", "published") if status in statuses), "unchanged")
