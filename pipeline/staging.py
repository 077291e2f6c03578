"""Staging: what a batch changes, copied to Postgres to be audited there. Equal rows stay behind."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from pathlib import Path

import polars as pl
from psycopg import sql

from core.database import Connection, readable_errors
from core.endpoints import ENDPOINTS, LISTEN_HISTORY, Endpoint
from core.frames import as_csv, copy_into, read_query, write_frame
from core.queries import compose_query, load_query
from pipeline.batches import Batch, Counts
from pipeline.endpoint_tables import (
    STAGING,
    copy_published_ids,
    copy_published_keys,
    create_removed_table,
    create_rows_table,
    key_schema,
    staged_columns,
)
from pipeline.transformation import PublishedIds, TransformedBatch

_BYTES_PER_READ = 32 * 2**20
# The last whole day is held against so many days before it: two of each day of the week.
_DAYS_COMPARED = 14
# With fewer sessions on the quietest of them, chance alone makes a day look half empty.
_FEWEST_SESSIONS = 50
# Before the lists of so many of these days came in, nobody knows what the list of a day brings.
_FEWEST_DAYS_PUBLISHED = 7
_EPOCH = date(1970, 1, 1).toordinal()


@dataclass(frozen=True)
class StagedTables:
    """A staged batch: where its rows are, and its counts so far."""

    rows_table: str
    profile_table: str
    removed_table: str
    counts: Counts


@dataclass
class _Difference:
    """How a batch differs from what is published, added up bucket by bucket.

    `sessions` are those that would be published with it, by how many days before the batch's day they were created.
    """

    unchanged: int = 0
    staged: int = 0
    new: int = 0
    removed: int = 0
    published: int = 0
    sessions: Counter[int] = field(default_factory=Counter)


def table_names(batch: Batch) -> tuple[str, str, str]:
    """Names in `staging` of the rows, the profile and the removed keys of a batch."""
    return batch.table, f"{batch.table}_profile", f"{batch.table}_removed"


@readable_errors()
def stage_batch(
    connection: Connection,
    batch: Batch,
    shaped: TransformedBatch,
    *,
    rows_reported: int,
    dependencies_not_published: int,
) -> StagedTables:
    """Copy the difference between a shaped batch and what is published to tables of its own, in one transaction.

    A second call replaces what the first one staged. Rejected, superseded and conflicting rows go to
    `ops.rejected_rows`. Raises DatabaseError.
    """
    rows_table, profile_table, removed_table = table_names(batch)
    with readable_errors(), connection.transaction():
        _create_tables(connection, batch)
        snapshot = _Snapshot(connection, batch.endpoint, shaped)
        difference = _Difference()
        removed: list[pl.DataFrame] = []
        with (
            connection.cursor() as cursor,
            cursor.copy(copy_into((STAGING, rows_table), staged_columns(batch.endpoint))) as copy,
        ):
            for text in _one_ahead(_changes(batch, shaped, snapshot, difference, removed)):
                copy.write(text)
        snapshot.forget()
        write_frame(connection, (STAGING, removed_table), pl.concat(removed).select(ENDPOINTS[batch.endpoint].key))
        _keep_rejected(connection, batch, shaped)
        counts = _counts(shaped, difference, rows_reported)
        _write_profile(connection, batch, shaped, counts, difference, dependencies_not_published)
    planned = (*ENDPOINTS[batch.endpoint].key, "is_new")  # the columns that query plans depend on
    counted = sql.SQL(", ").join(map(sql.Identifier, planned))
    connection.execute(sql.SQL("analyze {} ({})").format(sql.Identifier(STAGING, rows_table), counted))
    return StagedTables(rows_table, profile_table, removed_table, counts)


def published_ids(connection: Connection, endpoints: Iterable[Endpoint]) -> PublishedIds:
    """The ids of all rows of these endpoints that were ever published."""
    with readable_errors():
        return {
            endpoint: read_query(connection, copy_published_ids(endpoint), {"id": pl.Int64()}).to_series()
            for endpoint in endpoints
        }


@readable_errors()
def drop_tables(connection: Connection, batch: Batch) -> int:
    """Remove what was staged of a batch. Returns how many tables there were."""
    there = [table for table in table_names(batch) if _exists(connection, table)]
    for table in there:
        connection.execute(sql.SQL("drop table {}").format(sql.Identifier(STAGING, table)))
    return len(there)


def _exists(connection: Connection, table: str) -> bool:
    row = connection.execute("select to_regclass(%s) is not null", [f"{STAGING}.{table}"]).fetchone()
    return bool(row and row[0])


def _create_tables(connection: Connection, batch: Batch) -> None:
    rows_table, profile_table, removed_table = table_names(batch)
    drop_tables(connection, batch)
    connection.execute(create_rows_table(batch.endpoint, rows_table))
    connection.execute(create_removed_table(batch.endpoint, removed_table))
    connection.execute(compose_query("staging/tables.create_profile", table=(STAGING, profile_table)))


class _Snapshot:
    """Key, row hash and removal of every published row, in buckets on disk that match those of a shaped batch."""

    def __init__(self, connection: Connection, endpoint: Endpoint, shaped: TransformedBatch) -> None:
        self._endpoint = endpoint
        self._folder = shaped.folder / "published"
        self._buckets = shaped.buckets
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(parents=True)
        for number, frame in enumerate(_published(connection, endpoint)):
            for bucket, rows in enumerate(self._split(frame)):
                rows.write_parquet(self._folder / f"{bucket:04d}-{number:06d}.parquet", compression="lz4")

    def bucket(self, number: int) -> pl.DataFrame:
        """The published rows whose key falls into the bucket: the key, published_hash, removed."""
        parts = sorted(self._folder.glob(f"{number:04d}-*.parquet"))
        return pl.concat([pl.read_parquet(part, glob=False) for part in parts]) if parts else _no_rows(self._endpoint)

    def forget(self) -> None:
        """Delete the copies on disk."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _split(self, frame: pl.DataFrame) -> Iterator[pl.DataFrame]:
        key = ENDPOINTS[self._endpoint].id_field
        for bucket in range(self._buckets):
            yield frame if self._buckets == 1 else frame.filter(pl.col(key) % self._buckets == bucket)


def _changes(
    batch: Batch, shaped: TransformedBatch, snapshot: _Snapshot, difference: _Difference, removed: list[pl.DataFrame]
) -> Iterator[bytes]:
    """The rows to stage as CSV; adds to `difference` and `removed`."""
    for rows, gone in _differences(batch, shaped, snapshot, difference):
        removed.append(gone)
        yield from as_csv(rows.select(staged_columns(shaped.endpoint)))


def _one_ahead(texts: Iterator[bytes]) -> Iterator[bytes]:
    """Make the next text in a thread while Postgres takes the last one."""
    with ThreadPoolExecutor(1) as executor:
        following = executor.submit(next, texts, None)
        while (text := following.result()) is not None:
            following = executor.submit(next, texts, None)
            yield text


def _differences(
    batch: Batch, shaped: TransformedBatch, snapshot: _Snapshot, difference: _Difference
) -> Iterator[tuple[pl.DataFrame, pl.DataFrame]]:
    """Per bucket, the rows to stage and the keys of published rows that are gone; adds to `difference`."""
    key = list(ENDPOINTS[shaped.endpoint].key)
    for number in range(shaped.buckets):
        rows = shaped.bucket(number)
        published = snapshot.bucket(number)
        compared = rows.join(published, on=key, how="left", maintain_order="left")
        same = (pl.col("row_hash") == pl.col("published_hash")) & ~pl.col("removed")
        changed = compared.filter(~same.fill_null(False)).with_columns(is_new=pl.col("published_hash").is_null())
        ordinal = pl.when("is_new").then(pl.col("is_new").cum_sum().cast(pl.Int64) + difference.new)
        changed = changed.with_columns(new_ordinal=ordinal)
        live = published.filter(~pl.col("removed"))
        absent = live.join(rows, on=key, how="anti")
        protected = pl.col(key[0]).is_in(shaped.protected.implode())
        gone = absent.filter(~protected)
        difference.unchanged += len(rows) - len(changed)
        difference.staged += len(changed)
        difference.new += int(changed["is_new"].sum())
        difference.removed += len(gone)
        difference.published += len(live)
        if shaped.endpoint == LISTEN_HISTORY:
            difference.sessions += _by_days_ago(batch.day, rows) + _by_days_ago(batch.day, absent.filter(protected))
        yield changed, gone.select(key)


def _by_days_ago(day: date, sessions: pl.DataFrame) -> Counter[int]:
    """How many sessions were created on each day (UTC) that is looked at: 1 is the day before `day`."""
    ago = pl.lit(day.toordinal() - _EPOCH) - pl.col("created_at").dt.date().cast(pl.Int32)
    counted = sessions.select(ago=ago).filter(pl.col("ago").is_between(1, 1 + _DAYS_COMPARED))
    return Counter(dict(counted.group_by("ago").len().iter_rows()))


def _published(connection: Connection, endpoint: Endpoint) -> Iterator[pl.DataFrame]:
    """Published keys in frames of bounded size, streamed from the database."""
    buffer = bytearray()
    with connection.cursor() as cursor, cursor.copy(copy_published_keys(endpoint)) as copy:
        for data in copy:
            buffer += data
            if len(buffer) >= _BYTES_PER_READ:
                yield _published_frame(bytes(buffer), endpoint)
                buffer.clear()
    if buffer:
        yield _published_frame(bytes(buffer), endpoint)


def _published_frame(text: bytes, endpoint: Endpoint) -> pl.DataFrame:
    times = [name for name in ENDPOINTS[endpoint].key if name in ENDPOINTS[endpoint].times]
    schema = dict(_no_rows(endpoint).schema) | dict.fromkeys((*times, "removed"), pl.String())
    return pl.read_csv(text, has_header=False, schema=schema).with_columns(
        pl.col(times).str.to_datetime("%Y-%m-%d %H:%M:%S%.f", time_unit="us"), removed=pl.col("removed") == "t"
    )


def _no_rows(endpoint: Endpoint) -> pl.DataFrame:
    return pl.DataFrame(schema=key_schema(endpoint) | {"published_hash": pl.Int64(), "removed": pl.Boolean()})


@readable_errors()
def delete_rejected_rows(connection: Connection, batch: Batch) -> None:
    """Forget rejected rows of a batch that are not those of its last outcome."""
    connection.execute(load_query("ops/rejected_rows.delete_rejected_rows"), {"batch_id": batch.batch_id})


def _keep_rejected(connection: Connection, batch: Batch, shaped: TransformedBatch) -> None:
    connection.execute(load_query("ops/rejected_rows.delete_rejected_rows"), {"batch_id": batch.batch_id})
    with connection.cursor() as cursor, cursor.copy(load_query("ops/rejected_rows.copy_rejected_rows")) as copy:
        for rejected in shaped.rejected():
            rows = rejected.with_columns(batch_id=pl.lit(batch.batch_id), endpoint=pl.lit(batch.endpoint))
            for text in as_csv(
                rows.select("batch_id", "endpoint", "row_position", "play_position", "raw_json", "reason")
            ):
                copy.write(text)


def _counts(shaped: TransformedBatch, difference: _Difference, rows_reported: int) -> Counts:
    return Counts(
        rows_reported=rows_reported,
        rows_landed=shaped.rows_landed,
        rows_rejected=shaped.rows_rejected,
        rows_erased=shaped.rows_erased,
        rows_duplicate=shaped.rows_duplicate,
        rows_superseded=shaped.rows_superseded,
        rows_conflicting=shaped.rows_conflicting,
        rows_unchanged=difference.unchanged,
        rows_staged=difference.staged,
        plays_rejected=shaped.plays_rejected,
        unknown_fields=shaped.unknown_fields,
    )


def _write_profile(
    connection: Connection,
    batch: Batch,
    shaped: TransformedBatch,
    counts: Counts,
    difference: _Difference,
    dependencies_not_published: int,
) -> None:
    listed = counts.rows_unchanged + counts.rows_staged
    published = difference.published or None
    _, table, _ = table_names(batch)
    connection.execute(
        compose_query("staging/tables.insert_profile", table=(STAGING, table)),
        {
            "rows_reported": counts.rows_reported,
            "rows_landed": counts.rows_landed,
            "rows_listed": listed,
            "rows_rejected": counts.rows_rejected,
            "rejected_share": _share(counts.rows_rejected, counts.rows_landed),
            "rows_superseded": counts.rows_superseded,
            "rows_conflicting": counts.rows_conflicting,
            "conflicting_share": _share(counts.rows_conflicting, counts.rows_landed),
            "plays_landed": shaped.plays_landed,
            "plays_rejected": shaped.plays_rejected,
            "plays_rejected_share": _share(shaped.plays_rejected, shaped.plays_landed),
            "published_rows": published,
            "share_of_published": listed / published if published else None,
            "rows_removed": difference.removed,
            "removed_share": _share(difference.removed, difference.published),
            "days_since_newest_update": _days_since(batch.day, shaped.newest_updated_at),
            "rows_with_unknown_fields": shaped.rows_with_unknown_fields,
            "dependencies_not_published": dependencies_not_published,
            **_day_volume(connection, batch, difference.sessions),
        },
    )


def _day_volume(connection: Connection, batch: Batch, sessions: Counter[int]) -> dict[str, float | None]:
    """Sessions of the last whole day, held against the quietest day before it; no share where that says nothing."""
    names = ("last_day_sessions", "quietest_day_sessions", "share_of_quietest_day")
    if batch.endpoint != LISTEN_HISTORY:
        return dict.fromkeys(names)
    last, quietest = sessions[1], min(sessions[ago] for ago in range(2, 2 + _DAYS_COMPARED))
    known = quietest >= _FEWEST_SESSIONS and _days_published(connection, batch) >= _FEWEST_DAYS_PUBLISHED
    share = last / quietest if known else None
    return dict(zip(names, (last, quietest, share), strict=True))


def _days_published(connection: Connection, batch: Batch) -> int:
    values = {"endpoint": batch.endpoint, "day": batch.day, "days": _DAYS_COMPARED}
    row = connection.execute(load_query("ops/batches.count_published_days"), values).fetchone()
    return int(row[0]) if row else 0


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def _days_since(day: date, newest: datetime | None) -> float | None:
    """Days from the newest update in the list to the end of the batch's day; negative when it is newer."""
    if newest is None:
        return None
    end = datetime(day.year, day.month, day.day) + timedelta(days=1)
    return (end - newest) / timedelta(days=1)


def delete_transformed(folder: Path) -> None:
    """Delete the shaped parts of a batch, which can always be made again from its landing."""
    shutil.rmtree(folder, ignore_errors=True)
