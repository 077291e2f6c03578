"""A batch, its counts, and the ledger `ops.batches` with the status of each batch."""

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
    """The snapshot of one endpoint for one day. `revision` is 1 at first, and grows each time the day is fetched again.

    `source` is the API's address, without credentials.
    """

    endpoint: Endpoint
    day: date
    source: str
    revision: int = 1

    @property
    def batch_id(self) -> str:
        """For example `tracks-2026-11-22`, or `tracks-2026-11-22-r2` for the second revision."""
        return f"{self.endpoint}-{self.day}" + (f"-r{self.revision}" if self.revision > 1 else "")

    @property
    def table(self) -> str:
        """The name of the batch's table in the schema `staging`."""
        return self.batch_id.replace("-", "_")


@dataclass(frozen=True)
class Counts:
    """The rows of one batch, counted by their fate.

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
    """A row of `ops.batches`. `settled` is true if the run that audited the batch has finished.

    `read_in_run` is the run that read the snapshot, or None if no run recorded it.
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
    """Insert or update the row of a batch.

    `run_id` is recorded as the run that read the snapshot, unless the ledger has the batch with the same `started_at`.
    """
    values: dict[str, Any] = asdict(counts) | {"unknown_fields": Jsonb(dict(counts.unknown_fields))}
    values |= {"batch_id": batch.batch_id, "endpoint": batch.endpoint, "day": batch.day, "revision": batch.revision}
    values |= {"source": batch.source, "status": status, "reason": reason, "read_in_run": run_id}
    connection.execute(load_query("ops/record_batch"), values | {"started_at": started_at, "finished_at": finished_at})


def latest_entry(connection: Connection, endpoint: Endpoint, day: date) -> LedgerEntry | None:
    """The newest revision of the day's batch, or None."""
    return _entry(connection, "ops/batches.find_latest_batch", {"endpoint": endpoint, "day": day})


def find_entry(connection: Connection, batch_id: str) -> LedgerEntry | None:
    """The batch with that id, or None."""
    return _entry(connection, "ops/batches.find_batch", {"batch_id": batch_id})


@readable_errors()
def newer_published_batch(
    connection: Connection, batch: Batch, read_at: datetime, read_in_run: int | None, now: datetime
) -> str | None:
    """The id of a published batch of the endpoint whose snapshot was read later than that of `batch`, or None.

    A snapshot holds all rows of the endpoint. Publishing one that was read earlier would restore old rows. The ids of
    the runs that read the snapshots decide which is later. If `read_in_run` is None, `read_at` decides, provided that
    it is not in the future.
    """
    parameters = {"endpoint": batch.endpoint, "read_at": read_at, "read_in_run": read_in_run}
    parameters["latest"] = now + CLOCK_SKEW
    row = connection.execute(load_query("ops/batches.find_overtaking_batch"), parameters).fetchone()
    return str(row[0]) if row else None


@readable_errors()
def is_unpublished(connection: Connection, endpoint: Endpoint, day: date) -> bool:
    """Whether a run tried to publish the day's batch of the endpoint, and neither it nor a later batch is published."""
    parameters = {"endpoint": endpoint, "day": day}
    return connection.execute(load_query("ops/batches.find_unpublished_dependency"), parameters).fetchone() is not None


def choose_revision(entry: LedgerEntry | None, batch: Batch, *, refresh: bool) -> tuple[Batch, bool]:
    """The revision that a run works on, and whether it is published already.

    A published batch gets a new revision for a refresh or for another source. So does a blocked batch. It also gets a
    new revision if the run that audited it has finished, because the source may be repaired. In all other cases a run
    was interrupted or could not read the snapshot, and the next run continues with the same revision.
    """
    if entry is None:
        return batch, False
    current = replace(batch, revision=entry.batch.revision)
    fetch_again = refresh or entry.batch.source != batch.source or (entry.status == "blocked" and entry.settled)
    if fetch_again and entry.status in PUBLISHED_STATUSES | {"blocked"}:
        return replace(batch, revision=current.revision + 1), False
    return current, entry.status in PUBLISHED_STATUSES


@readable_errors()
def start_run(connection: Connection, flow: str, day: date | None, now: datetime) -> int:
    """Record the start of a run. Returns its id."""
    row = connection.execute(load_query("ops/runs.start_run"), {"flow": flow, "day": day, "started_at": now}).fetchone()
    if row is None:
        raise RuntimeError("the insert returned no run id")
    return int(row[0])


@readable_errors()
def clock_problem(connection: Connection, now: datetime) -> str | None:
    """A warning if the previous run started after `now`, because the clock was or is wrong. Otherwise None."""
    row = connection.execute(load_query("ops/runs.find_newest_run")).fetchone()
    if row is None or not is_ahead(row[2], now):
        return None
    run_id, flow, started_at = row
    return (
        f"run {run_id} ({flow}) began at {started_at.astimezone(UTC):%Y-%m-%d %H:%M} UTC, and now it is "
        f"{now.astimezone(UTC):%Y-%m-%d %H:%M} UTC: the machine's clock was ahead, or is behind now; see "
        "docs/operations.md#the-clock-was-wrong"
    )


@readable_errors()
def add_batch_to_run(connection: Connection, run_id: int, batch: Batch) -> None:
    """Record that the run audits the batch."""
    connection.execute(load_query("ops/runs.add_batch_to_run"), {"run_id": run_id, "batch_id": batch.batch_id})


@readable_errors()
def finish_run(connection: Connection, run_id: int, outcome: str, now: datetime) -> None:
    """Record the end of a run and its outcome."""
    connection.execute(load_query("ops/runs.finish_run"), {"run_id": run_id, "outcome": outcome, "finished_at": now})


def parse_batch_id(batch_id: str) -> tuple[Endpoint, date, int] | None:
    """Endpoint, day and revision of a batch id, or None if it is not one."""
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
