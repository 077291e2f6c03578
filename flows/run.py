"""A run of a flow: its settings, database connection, lock, and row in ops.runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

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
from core.roles import Role, ensure_schema, ensure_schema_for_role
from core.settings import Settings
from expectations.thresholds import Thresholds
from pipeline import batches
from pipeline.batches import PUBLISHED_STATUSES, Batch, Counts, Status

if TYPE_CHECKING:
    from expectations.checkpoint import Auditor


class IngestIncomplete(MoovitamixError):
    """A batch is blocked or failed. `batches` holds all results of the run, `unpublished` those of such batches."""

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
    at_end: ExitStack
    outcomes: list[BatchResult] = field(default_factory=list)
    outcome: str = ""  # one word for ops.runs, if the run has no batches
    _auditor: Auditor | None = None

    @property
    def models_dir(self) -> Path:
        return DataLayout(self.settings.data_dir).models

    @property
    def docs_dir(self) -> Path:
        return DataLayout(self.settings.data_dir).data_docs

    def ensure_auditor(self, max_failing_keys: int = 1_000) -> Auditor:
        """Open the auditor at the first call, which takes seconds, and close it with the run."""
        if self._auditor is None:
            from expectations.checkpoint import Auditor  # imports Great Expectations

            auditor = Auditor(
                url=self.url,
                thresholds=self.thresholds,
                docs_dir=self.docs_dir,
                clock=self.clock,
                max_failing_keys=max_failing_keys,
            )
            self._auditor = self.at_end.enter_context(auditor)
        return self._auditor

    def shaped_folder(self, batch: Batch) -> Path:
        """Return the folder of the batch's transformed rows. It is deleted after staging."""
        return DataLayout(self.settings.data_dir).shaped / batch.batch_id

    def unpublished_dependencies(self, batch: Batch) -> list[str]:
        """Return the endpoints that the batch depends on and that are not published for its day.

        The result of this run counts; without one, that of the last run.
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
        run_id = batches.start_run(connection, flow, day, clock())
        run = Run(flow, settings, thresholds, clock, url, connection, run_id, at_end)
        try:
            yield run
        except BaseException as error:
            outcome = "refused" if isinstance(error, REFUSALS) else "failed"
            with suppress(DatabaseError):  # if the database failed, the run stays open in the ledger
                batches.finish_run(connection, run_id, outcome, clock())
            raise
        batches.finish_run(connection, run_id, run.outcome or summary(run.outcomes), clock())


def summary(outcomes: Sequence[BatchResult]) -> str:
    """Return the worst status of the batches."""
    statuses = {outcome.status for outcome in outcomes}
    return next((status for status in ("failed", "blocked", "published") if status in statuses), "unchanged")
