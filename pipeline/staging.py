"""Staging: copies the rows of a batch that differ from the published rows to Postgres, where they are audited."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
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
    create_keys_table,
    create_removed_table,
    create_rows_table,
    key_schema,
    staged_columns,
)
from pipeline.published_snapshots import PublishedSnapshot, SnapshotDigests
from pipeline.transformation import PublishedIds, RecognisedRows, TransformedBatch

_BYTES_PER_READ = 32 * 2**20
# The last whole day is compared with this many earlier days: two of each day of the week.
_DAYS_COMPARED = 14
# If the quietest of these days has fewer sessions, a day may have only half of them by chance.
_MIN_SESSIONS = 50
# A comparison needs published batches of at least this many of these days.
_MIN_DAYS_PUBLISHED = 7
_KEYS_TABLE = "changed_keys"
_EPOCH = date(1970, 1, 1).toordinal()


@dataclass(frozen=True)
class StagedTables:
    """The staging tables of a batch, its counts so far, and what recognises its rows in the next snapshot.

    `same_rows_as` is the published batch that has the same valid rows, if no row changed since then.
    """

    rows_table: str
    profile_table: str
    removed_table: str
    counts: Counts
    digests: SnapshotDigests | None = None
    same_rows_as: str = ""


@dataclass
class _Difference:
    """Counts of the difference between a batch and the published rows, summed over the buckets.

    `removed_keys` has the keys of the removed rows, a frame per bucket.
    `sessions` counts the sessions that the batch would publish, by the number of days before the batch's day.
    """

    unchanged: int = 0
    staged: int = 0
    new: int = 0
    removed: int = 0
    published: int = 0
    removed_keys: list[pl.DataFrame] = field(default_factory=list)
    sessions: Counter[int] = field(default_factory=Counter)


def table_names(batch: Batch) -> tuple[str, str, str]:
    """The names in `staging` of the tables of rows, of the profile and of removed keys."""
    return batch.table, f"{batch.table}_profile", f"{batch.table}_removed"


@readable_errors()
def stage_batch(
    connection: Connection,
    batch: Batch,
    transformed: TransformedBatch,
    *,
    rows_reported: int,
    dependencies_not_published: int,
) -> StagedTables:
    """Copy the rows of a transformed batch that differ from the published rows to its staging tables.

    It is one transaction, and a second call replaces the tables. Rejected, superseded and conflicting rows are written
    to `ops.rejected_rows`. Raises DatabaseError.
    """
    rows_table, profile_table, removed_table = table_names(batch)
    with readable_errors(), connection.transaction():
        _create_tables(connection, batch)
        published = _PublishedRows(connection, batch.endpoint, transformed)
        difference = _Difference()
        with (
            connection.cursor() as cursor,
            cursor.copy(copy_into((STAGING, rows_table), staged_columns(batch.endpoint))) as copy,
        ):
            for text in _prefetch(_staged_csv(batch, transformed, published, difference)):
                copy.write(text)
        published.delete()
        write_frame(connection, (STAGING, removed_table), pl.concat(difference.removed_keys))
        _write_rejected_rows(connection, batch, transformed)
        if transformed.recognised:
            _add_recognised_rows(connection, batch, transformed.recognised, difference)
        counts = _counts(transformed, difference, rows_reported)
        _write_profile(connection, batch, transformed, counts, difference, dependencies_not_published)
    columns = (*ENDPOINTS[batch.endpoint].key, "is_new")  # the columns that query plans depend on
    names = sql.SQL(", ").join(map(sql.Identifier, columns))
    connection.execute(sql.SQL("analyze {} ({})").format(sql.Identifier(STAGING, rows_table), names))
    is_changed = difference.staged > 0 or difference.removed > 0
    same_rows_as = "" if is_changed or transformed.recognised is None else transformed.recognised.batch_id
    return StagedTables(rows_table, profile_table, removed_table, counts, transformed.digests, same_rows_as)


def recognise_rows(
    connection: Connection, transformed: TransformedBatch, snapshot: PublishedSnapshot
) -> TransformedBatch | None:
    """Look up the published rows that a batch with recognised rows changes.

    None if a transformed row may share its key with a recognised row: only a complete transformation counts them.
    Raises DatabaseError.
    """
    endpoint, recognised = transformed.endpoint, transformed.recognised
    if recognised is None:
        return transformed
    key = list(ENDPOINTS[endpoint].key)
    keys = [part.select(key) for number in range(transformed.buckets) for part in transformed.parts(number)]
    new_keys = pl.concat([_no_rows(endpoint).select(key), *keys])
    published = _find_published_rows(connection, endpoint, pl.concat([new_keys, recognised.outdated]).unique())
    live = published.filter(~pl.col("removed"))
    if not live.join(new_keys, on=key, how="semi").join(recognised.outdated, on=key, how="anti").is_empty():
        return None
    return replace(
        transformed,
        recognised=replace(
            recognised, published=published, live_rows=snapshot.live_rows - len(live), batch_id=snapshot.batch_id
        ),
    )


@readable_errors()
def _find_published_rows(connection: Connection, endpoint: Endpoint, keys: pl.DataFrame) -> pl.DataFrame:
    """The published rows with these keys: the key, published_hash, removed."""
    if keys.is_empty():
        return _no_rows(endpoint)
    with connection.transaction():
        connection.execute(create_keys_table(endpoint, _KEYS_TABLE))
        write_frame(connection, ("pg_temp", _KEYS_TABLE), keys)
        connection.execute(sql.SQL("analyze {}").format(sql.Identifier("pg_temp", _KEYS_TABLE)))
        frames = list(_read_published_keys(connection, endpoint, _KEYS_TABLE))
    return pl.concat(frames) if frames else _no_rows(endpoint)


def _add_recognised_rows(
    connection: Connection, batch: Batch, recognised: RecognisedRows, difference: _Difference
) -> None:
    """Add the rows that were recognised to the difference. All of them are published and unchanged."""
    difference.unchanged += recognised.rows
    difference.published += recognised.live_rows
    if batch.endpoint == LISTEN_HISTORY:
        values = {"day": batch.day, "days": 1 + _DAYS_COMPARED}
        days = load_query("staging/recognised_rows.count_live_sessions")
        difference.sessions += Counter(dict(connection.execute(days, values).fetchall()))
        difference.sessions.subtract(_count_by_days_ago(batch.day, recognised.published.filter(~pl.col("removed"))))


def published_ids(connection: Connection, endpoints: Iterable[Endpoint]) -> PublishedIds:
    """The ids of all rows of these endpoints that were ever published, by endpoint."""
    with readable_errors():
        return {
            endpoint: read_query(connection, copy_published_ids(endpoint), {"id": pl.Int64()}).to_series()
            for endpoint in endpoints
        }


@readable_errors()
def drop_tables(connection: Connection, batch: Batch) -> int:
    """Drop the staging tables of a batch. Returns the number of dropped tables."""
    tables = [table for table in table_names(batch) if _exists(connection, table)]
    for table in tables:
        connection.execute(sql.SQL("drop table {}").format(sql.Identifier(STAGING, table)))
    return len(tables)


def _exists(connection: Connection, table: str) -> bool:
    row = connection.execute("select to_regclass(%s) is not null", [f"{STAGING}.{table}"]).fetchone()
    return bool(row and row[0])


def _create_tables(connection: Connection, batch: Batch) -> None:
    rows_table, profile_table, removed_table = table_names(batch)
    drop_tables(connection, batch)
    connection.execute(create_rows_table(batch.endpoint, rows_table))
    connection.execute(create_removed_table(batch.endpoint, removed_table))
    connection.execute(compose_query("staging/tables.create_profile", table=(STAGING, profile_table)))


class _PublishedRows:
    """Key, row hash and removal of every published row, on disk in the same buckets as the transformed batch."""

    def __init__(self, connection: Connection, endpoint: Endpoint, transformed: TransformedBatch) -> None:
        self._endpoint = endpoint
        self._folder = transformed.folder / "published"
        self._buckets = transformed.buckets
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(parents=True)
        recognised = transformed.recognised
        frames = [recognised.published] if recognised else _read_published_keys(connection, endpoint)
        for number, frame in enumerate(frames):
            for bucket, rows in enumerate(self._split(frame)):
                rows.write_parquet(self._folder / f"{bucket:04d}-{number:06d}.parquet", compression="lz4")

    def bucket(self, number: int) -> pl.DataFrame:
        """The published rows of a bucket: the key, published_hash, removed."""
        parts = sorted(self._folder.glob(f"{number:04d}-*.parquet"))
        return pl.concat([pl.read_parquet(part, glob=False) for part in parts]) if parts else _no_rows(self._endpoint)

    def delete(self) -> None:
        """Delete the files."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _split(self, frame: pl.DataFrame) -> Iterator[pl.DataFrame]:
        key = ENDPOINTS[self._endpoint].id_field
        for bucket in range(self._buckets):
            yield frame if self._buckets == 1 else frame.filter(pl.col(key) % self._buckets == bucket)


def _staged_csv(
    batch: Batch, transformed: TransformedBatch, published_rows: _PublishedRows, difference: _Difference
) -> Iterator[bytes]:
    """The rows to stage as CSV. Updates `difference`."""
    for rows in _rows_to_stage(batch, transformed, published_rows, difference):
        yield from as_csv(rows.select(staged_columns(transformed.endpoint)))


def _prefetch(texts: Iterator[bytes]) -> Iterator[bytes]:
    """Compute the next text in a thread while Postgres reads the current one."""
    with ThreadPoolExecutor(1) as executor:
        following = executor.submit(next, texts, None)
        while (text := following.result()) is not None:
            following = executor.submit(next, texts, None)
            yield text


def _rows_to_stage(
    batch: Batch, transformed: TransformedBatch, published_rows: _PublishedRows, difference: _Difference
) -> Iterator[pl.DataFrame]:
    """The rows to stage, in frames of bounded size. Updates `difference`."""
    key = list(ENDPOINTS[transformed.endpoint].key)
    counts_days = transformed.endpoint == LISTEN_HISTORY
    for number in range(transformed.buckets):
        published = published_rows.bucket(number)
        absent = live = published.filter(~pl.col("removed"))
        for rows in transformed.parts(number):
            yield _changed_rows(rows, published, key, difference)
            absent = absent.join(rows, on=key, how="anti")
            if counts_days:
                difference.sessions += _count_by_days_ago(batch.day, rows)
        protected = pl.col(key[0]).is_in(transformed.protected.implode())
        removed = absent.filter(~protected)
        difference.removed += len(removed)
        difference.removed_keys.append(removed.select(key))
        difference.published += len(live)
        if counts_days:
            difference.sessions += _count_by_days_ago(batch.day, absent.filter(protected))


def _changed_rows(
    rows: pl.DataFrame, published: pl.DataFrame, key: Sequence[str], difference: _Difference
) -> pl.DataFrame:
    """The rows that differ from the published ones, with `is_new` and `new_ordinal`. Updates `difference`."""
    compared = rows.join(published, on=key, how="left", maintain_order="left")
    unchanged = (pl.col("row_hash") == pl.col("published_hash")) & ~pl.col("removed")
    changed = compared.filter(~unchanged.fill_null(False)).with_columns(is_new=pl.col("published_hash").is_null())
    ordinal = pl.when("is_new").then(pl.col("is_new").cum_sum().cast(pl.Int64) + difference.new)
    changed = changed.with_columns(new_ordinal=ordinal)
    difference.unchanged += len(rows) - len(changed)
    difference.staged += len(changed)
    difference.new += int(changed["is_new"].sum())
    return changed


def _count_by_days_ago(day: date, sessions: pl.DataFrame) -> Counter[int]:
    """The number of sessions created on each compared day (UTC). Key 1 is the day before `day`."""
    days_ago = pl.lit(day.toordinal() - _EPOCH) - pl.col("created_at").dt.date().cast(pl.Int32)
    compared = sessions.select(days_ago=days_ago).filter(pl.col("days_ago").is_between(1, 1 + _DAYS_COMPARED))
    return Counter(dict(compared.group_by("days_ago").len().iter_rows()))


def _read_published_keys(
    connection: Connection, endpoint: Endpoint, keys_table: str | None = None
) -> Iterator[pl.DataFrame]:
    """Stream the published keys from the database, in frames of bounded size. `keys_table` restricts them."""
    buffer = bytearray()
    with connection.cursor() as cursor, cursor.copy(copy_published_keys(endpoint, keys_table)) as copy:
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
    """Delete the rejected rows of a batch from `ops.rejected_rows`."""
    connection.execute(load_query("ops/rejected_rows.delete_rejected_rows"), {"batch_id": batch.batch_id})


def _write_rejected_rows(connection: Connection, batch: Batch, transformed: TransformedBatch) -> None:
    connection.execute(load_query("ops/rejected_rows.delete_rejected_rows"), {"batch_id": batch.batch_id})
    with connection.cursor() as cursor, cursor.copy(load_query("ops/rejected_rows.copy_rejected_rows")) as copy:
        for rejected in transformed.rejected():
            rows = rejected.with_columns(batch_id=pl.lit(batch.batch_id), endpoint=pl.lit(batch.endpoint))
            for text in as_csv(
                rows.select("batch_id", "endpoint", "row_position", "play_position", "raw_json", "reason")
            ):
                copy.write(text)


def _counts(transformed: TransformedBatch, difference: _Difference, rows_reported: int) -> Counts:
    return Counts(
        rows_reported=rows_reported,
        rows_landed=transformed.rows_landed,
        rows_rejected=transformed.rows_rejected,
        rows_erased=transformed.rows_erased,
        rows_duplicate=transformed.rows_duplicate,
        rows_superseded=transformed.rows_superseded,
        rows_conflicting=transformed.rows_conflicting,
        rows_unchanged=difference.unchanged,
        rows_staged=difference.staged,
        plays_rejected=transformed.plays_rejected,
        unknown_fields=transformed.unknown_fields,
    )


def _write_profile(
    connection: Connection,
    batch: Batch,
    transformed: TransformedBatch,
    counts: Counts,
    difference: _Difference,
    dependencies_not_published: int,
) -> None:
    rows_listed = counts.rows_unchanged + counts.rows_staged
    published = difference.published or None
    _, table, _ = table_names(batch)
    connection.execute(
        compose_query("staging/tables.insert_profile", table=(STAGING, table)),
        {
            "rows_reported": counts.rows_reported,
            "rows_landed": counts.rows_landed,
            "rows_listed": rows_listed,
            "rows_rejected": counts.rows_rejected,
            "rejected_share": _share(counts.rows_rejected, counts.rows_landed),
            "rows_superseded": counts.rows_superseded,
            "rows_conflicting": counts.rows_conflicting,
            "conflicting_share": _share(counts.rows_conflicting, counts.rows_landed),
            "plays_landed": transformed.plays_landed,
            "plays_rejected": transformed.plays_rejected,
            "plays_rejected_share": _share(transformed.plays_rejected, transformed.plays_landed),
            "published_rows": published,
            "share_of_published": rows_listed / published if published else None,
            "rows_removed": difference.removed,
            "removed_share": _share(difference.removed, difference.published),
            "days_since_newest_update": _days_since(batch.day, transformed.newest_updated_at),
            "rows_with_unknown_fields": transformed.rows_with_unknown_fields,
            "dependencies_not_published": dependencies_not_published,
            **_day_volume(connection, batch, difference.sessions),
        },
    )


def _day_volume(connection: Connection, batch: Batch, sessions: Counter[int]) -> dict[str, float | None]:
    """Compare the sessions of the last whole day with the quietest earlier day. The share is None with too few data."""
    names = ("last_day_sessions", "quietest_day_sessions", "share_of_quietest_day")
    if batch.endpoint != LISTEN_HISTORY:
        return dict.fromkeys(names)
    last, quietest = sessions[1], min(sessions[days_ago] for days_ago in range(2, 2 + _DAYS_COMPARED))
    is_meaningful = quietest >= _MIN_SESSIONS and _days_published(connection, batch) >= _MIN_DAYS_PUBLISHED
    share = last / quietest if is_meaningful else None
    return dict(zip(names, (last, quietest, share), strict=True))


def _days_published(connection: Connection, batch: Batch) -> int:
    values = {"endpoint": batch.endpoint, "day": batch.day, "days": _DAYS_COMPARED}
    row = connection.execute(load_query("ops/batches.count_published_days"), values).fetchone()
    return int(row[0]) if row else 0


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def _days_since(day: date, newest: datetime | None) -> float | None:
    """Days from the newest update in the snapshot to the end of the batch's day. Negative if the update is later."""
    if newest is None:
        return None
    end = datetime(day.year, day.month, day.day) + timedelta(days=1)
    return (end - newest) / timedelta(days=1)


def delete_transformed(folder: Path) -> None:
    """Delete the transformed rows of a batch. They can be created again from its raw pages."""
    shutil.rmtree(folder, ignore_errors=True)
