"""What one run of a flow holds on to: settings, the database, the warehouse lock, its row in the ledger."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from core.audits import ExpectationResult
from core.clock import Clock
from core.data_layout import DataLayout
from core.database import (
    Connection,
    connect,
    take_training_lock,
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
    """At least one batch was blocked or failed. `batches` holds all batches of the run, `outcomes` those that are not
    published."""

    def __init__(self, outcomes: Sequence[BatchResult], batches: Sequence[BatchResult] = ()) -> None:
        super().__init__("; ".join(f"{one.batch.batch_id} {one.status}: {one.reason}" for one in outcomes))
        self.outcomes = tuple(outcomes)
        self.batches = tuple(batches or outcomes)


@dataclass(frozen=True)
class BatchResult:
    """What became of one batch in this run. `earlier`: it was published by an earlier run, nothing was done.

    `cause` is the part of the machine that failed, if that is why: see MoovitamixError.
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
    outcome: str = ""  # of a run without batches, in a word

    @property
    def models_dir(self) -> Path:
        """Where the files of models are."""
        return DataLayout(self.settings.data_dir).models

    @property
    def docs_dir(self) -> Path:
        """Where Data Docs are built."""
        return DataLayout(self.settings.data_dir).data_docs

    @cached_property
    def auditor(self) -> Auditor:
        """Great Expectations, imported only by a run that audits: it takes seconds."""
        from expectations.checkpoint import Auditor

        auditor = Auditor(url=self.url, thresholds=self.thresholds, docs_dir=self.docs_dir, clock=self.clock)
        return self.at_end.enter_context(auditor)

    def shaped_folder(self, batch: Batch) -> Path:
        """Where a batch is shaped; it is gone when the batch is staged."""
        return DataLayout(self.settings.data_dir).shaped / batch.batch_id

    def unpublished_dependencies(self, batch: Batch) -> list[str]:
        """What the batch refers to, and this run or the last one that tried could not publish for its day."""
        here = {outcome.batch.endpoint: not outcome.is_published for outcome in self.outcomes}
        return [
            name
            for name in ENDPOINTS[batch.endpoint].depends_on
            if (here[name] if name in here else batches.is_unpublished(self.connection, name, batch.day))
        ]

    def raise_if_incomplete(self) -> None:
        """Raises IngestIncomplete, naming each batch that was blocked or failed."""
        bad = [outcome for outcome in self.outcomes if not outcome.is_published]
        if bad:
            raise IngestIncomplete(bad, self.outcomes)


@contextmanager
def open_run(
    settings: Settings,
    thresholds: Thresholds,
    flow: str,
    day: date | None,
    clock: Clock,
    *,
    role: Role | None,
    training: bool = False,
) -> Iterator[Run]:
    """Bring the schema up to date, take the warehouse lock, and note the run's begin and end.

    All that it does in the database, it does in the role; None is the owner of the schema, who may do everything.
    A run that is `training` has the lock of trainings instead, so that ingests go on beside it; it takes the other
    for the time of publishing. Raises DatabaseError, AlreadyRunning.
    """
    url = ensure_schema(settings) if role is None else ensure_schema_for_role(settings, role)
    with ExitStack() as at_end:
        connection = at_end.enter_context(connect(url))
        take_lock = take_training_lock if training else take_warehouse_lock
        take_lock(connection, settings.lock_wait_seconds)
        if trouble := batches.clock_problem(connection, clock()):
            print(f"warning: {trouble}", flush=True)
        run_id = batches.start_run(connection, flow, day, clock())
        run = Run(flow, settings, thresholds, clock, url, connection, run_id, at_end)
        try:
            yield run
        except BaseException as error:
            outcome = "refused" if isinstance(error, REFUSALS) else "failed"
            with suppress(DatabaseError):  # the database may be what failed: then the run stays open in the ledger
                batches.finish_run(connection, run_id, outcome, clock())
            raise
        batches.finish_run(connection, run_id, run.outcome or summary(run.outcomes), clock())


def summary(outcomes: Sequence[BatchResult]) -> str:
    """One word for a run: how its worst batch ended."""
    statuses = {outcome.status for outcome in outcomes}
    return next((status for status in ("failed", "blocked", "published") if status in statuses), "unchanged")
