"""A batch, its counts, and the ledger `ops.batches` that says what became of each."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import UTC, date, datetime
from typing import Any, Literal

from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from core.clock import CLOCK_SKEW, is_ahead
from core.database import Connection, readable_errors
from core.endpoints import ENDPOINTS, Endpoint
from core.queries import load_query

Status = Literal["landed", "staged", "blocked", "published", "unchanged", "failed"]
PUBLISHED_STATUSES: frozenset[str] = frozenset({"published", "unchanged"})

_BATCH_ID = re.compile(r"(?P<endpoint>[a-z_]+)-(?P<day>[0-9]{4}-[0-9]{2}-[0-9]{2})(?:-r(?P<revision>[0-9]+))?")


@dataclass(frozen=True)
class Batch:
    """What one endpoint sent for one day. `revision` counts the times the day was fetched again on purpose.

    `source` is the API's address, without credentials.
    """

    endpoint: Endpoint
    day: date
    source: str
    revision: int = 1

    @property
    def batch_id(self) -> str:
        """Such as `tracks-2026-11-22`, or `tracks-2026-11-22-r2` when fetched a second time."""
        return f"{self.endpoint}-{self.day}" + (f"-r{self.revision}" if self.revision > 1 else "")

    @property
    def table(self) -> str:
        """The name of its table in the schema `staging`."""
        return self.batch_id.replace("-", "_")


@dataclass(frozen=True)
class Counts:
    """Rows of one batch, by what became of them.

    landed = rejected + erased + duplicate + superseded + conflicting + unchanged + staged.
    """

    rows_reported: int | None = None
    rows_landed: int = 0
    rows_rejected: int = 0
    rows_erased: int = 0
    rows_duplicate: int = 0
    rows_superseded: int = 0
    rows_conflicting: int = 0
    rows_unchanged: int = 0
    rows_staged: int = 0
    rows_inserted: int = 0
    rows_updated: int = 0
    rows_removed: int = 0
    plays_rejected: int = 0
    unknown_fields: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class LedgerEntry:
    """A batch as `ops.batches` has it. `settled`: the run that judged it came to its end.

    `read_in_run` is the run that read its snapshot, None where no run knows.
    """

    batch: Batch
    status: Status
    counts: Counts
    started_at: datetime
    reason: str | None
    settled: bool
    read_in_run: int | None = None


@readable_errors()
def record_batch(
    connection: Connection,
    batch: Batch,
    status: Status,
    counts: Counts,
    *,
    started_at: datetime,
    run_id: int | None,
    finished_at: datetime | None = None,
    reason: str | None = None,
) -> None:
    """Write what became of a batch, over whatever was written of it before.

    `run_id` is noted as the run that read the snapshot, unless the ledger has the batch with the same `started_at`.
    """
    values: dict[str, Any] = asdict(counts) | {"unknown_fields": Jsonb(dict(counts.unknown_fields))}
    values |= {"batch_id": batch.batch_id, "endpoint": batch.endpoint, "day": batch.day, "revision": batch.revision}
    values |= {"source": batch.source, "status": status, "reason": reason, "read_in_run": run_id}
    connection.execute(load_query("ops/record_batch"), values | {"started_at": started_at, "finished_at": finished_at})


def latest_entry(connection: Connection, endpoint: Endpoint, day: date) -> LedgerEntry | None:
    """The newest revision of the day's batch, if there is one."""
    return _entry(connection, "ops/batches.find_latest_batch", {"endpoint": endpoint, "day": day})


def find_entry(connection: Connection, batch_id: str) -> LedgerEntry | None:
    """The batch of that id, if the ledger has it."""
    return _entry(connection, "ops/batches.find_batch", {"batch_id": batch_id})


@readable_errors()
def newer_published_batch(
    connection: Connection, batch: Batch, read_at: datetime, read_in_run: int | None, now: datetime
) -> str | None:
    """The id of a batch of the endpoint that was published from a snapshot read later than this one, if there is one.

    Every snapshot is the full list: one that was read earlier would bring old rows back, whatever day it is for. The
    runs that read them tell which is later. Where no run knows (None), `read_at` does, as far as it is not after now.
    """
    parameters = {"endpoint": batch.endpoint, "read_at": read_at, "read_in_run": read_in_run}
    parameters["latest"] = now + CLOCK_SKEW
    row = connection.execute(load_query("ops/batches.find_overtaking_batch"), parameters).fetchone()
    return str(row[0]) if row else None


@readable_errors()
def is_unpublished(connection: Connection, endpoint: Endpoint, day: date) -> bool:
    """Whether the day's list of the endpoint was tried and not published, nor one that was read later."""
    parameters = {"endpoint": endpoint, "day": day}
    return connection.execute(load_query("ops/batches.find_unpublished_dependency"), parameters).fetchone() is not None


def choose_revision(entry: LedgerEntry | None, batch: Batch, *, refresh: bool) -> tuple[Batch, bool]:
    """Which revision a run works on, and whether that one is done already.

    Published: done; a new revision for a refresh or another source than before. Blocked: the same, and also when the
    run that judged it came to its end, so that a mended source is seen. Otherwise a run was cut off, or could not read
    the list: go on with the same revision.
    """
    if entry is None:
        return batch, False
    current = replace(batch, revision=entry.batch.revision)
    again = refresh or entry.batch.source != batch.source or (entry.status == "blocked" and entry.settled)
    if again and entry.status in PUBLISHED_STATUSES | {"blocked"}:
        return replace(batch, revision=current.revision + 1), False
    return current, entry.status in PUBLISHED_STATUSES


@readable_errors()
def start_run(connection: Connection, flow: str, day: date | None, now: datetime) -> int:
    """Note that a run began; returns its id."""
    row = connection.execute(load_query("ops/runs.start_run"), {"flow": flow, "day": day, "started_at": now}).fetchone()
    if row is None:
        raise RuntimeError("the insert returned no run id")
    return int(row[0])


@readable_errors()
def clock_problem(connection: Connection, now: datetime) -> str | None:
    """What to tell people when the run before began after `now`: the clock was ahead then, or is behind. Else None."""
    row = connection.execute(load_query("ops/runs.find_newest_run")).fetchone()
    if row is None or not is_ahead(row[2], now):
        return None
    run_id, flow, started_at = row
    return (
        f"run {run_id} ({flow}) began at {started_at.astimezone(UTC):%Y-%m-%d %H:%M} UTC, and now it is "
        f"{now.astimezone(UTC):%Y-%m-%d %H:%M} UTC: the machine's clock was ahead then, or is behind; see "
        "docs/operations.md#the-clock-was-wrong"
    )


@readable_errors()
def add_batch_to_run(connection: Connection, run_id: int, batch: Batch) -> None:
    """Note that the run judges the batch."""
    connection.execute(load_query("ops/runs.add_batch_to_run"), {"run_id": run_id, "batch_id": batch.batch_id})


@readable_errors()
def finish_run(connection: Connection, run_id: int, outcome: str, now: datetime) -> None:
    """Note that the run came to its end, well or not."""
    connection.execute(load_query("ops/runs.finish_run"), {"run_id": run_id, "outcome": outcome, "finished_at": now})


def parse_batch_id(batch_id: str) -> tuple[Endpoint, date, int] | None:
    """The parts of a batch id, or None when it is not one."""
    match = _BATCH_ID.fullmatch(batch_id)
    if match is None or match["endpoint"] not in ENDPOINTS:
        return None
    try:
        day = date.fromisoformat(match["day"])
    except ValueError:
        return None
    endpoint: Endpoint = match["endpoint"]
    return endpoint, day, int(match["revision"] or 1)


@readable_errors()
def _entry(connection: Connection, query: str, parameters: dict[str, Any]) -> LedgerEntry | None:
    with connection.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute(load_query(query), parameters).fetchone()
    if row is None:
        return None
    return LedgerEntry(
        batch=Batch(row["endpoint"], row["day"], row["source"], row["revision"]),
        status=row["status"],
        counts=Counts(**{f.name: row[f.name] for f in fields(Counts)}),
        started_at=row["started_at"],
        reason=row["reason"],
        settled=row["settled"],
        read_in_run=row["read_in_run"],
    )
