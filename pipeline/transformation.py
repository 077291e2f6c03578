"""Transformation: raw pages to typed rows with Polars. Invalid rows are rejected with a reason.

The rows of a batch are Parquet files in buckets of about 250,000 rows. All rows of a key are in one bucket. So
deduplication needs no more than one bucket in memory, and the comparison with published rows a part of it.
"""

from __future__ import annotations

import gc
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

import numpy as np
import polars as pl
import xxhash
from numpy.typing import NDArray

from core.endpoints import ENDPOINTS, Endpoint, EndpointSpecification, Field
from pipeline.decoding import (
    OTHER_FIELDS,
    DecodedRows,
    RejectedRow,
    add_field_counts,
    decode_rows,
    decode_texts,
    raw_texts,
    readable_row_id,
)
from pipeline.deduplication import CONFLICTING, SUPERSEDED, deduplicate, has_repeated_keys
from pipeline.landing import Landing
from pipeline.published_snapshots import (
    RawChanges,
    RawRow,
    SnapshotDigests,
    digests_at,
    page_digest,
)
from pipeline.raw_pages import make_private_folder
from pipeline.row_filter import RowFilter
from pipeline.timestamps import parse_times

ROWS_PER_BUCKET = 250_000
# Rows that are decoded at once, and that are compared at once. Each step has a fixed cost.
ROWS_PER_STEP = 20_000
ROWS_PER_PART = 50_000
# With a larger share of pages or rows to decode again, nothing is recognised in the next snapshot.
_MAX_SHARE_TO_DECODE = 0.5
_MAX_FIELD_NAME_LENGTH = 60

# An earlier date is a placeholder, not a real time.
EARLIEST = datetime(1970, 1, 1)

_DURATION = r"^([0-9]{2,3}):([0-5][0-9])$"
_SEPARATOR = "\x1f"

# The ids of published rows that a field may refer to, by endpoint.
PublishedIds = Mapping[Endpoint, pl.Series]


@dataclass(frozen=True)
class RecognisedRows:
    """The rows of a batch that were not transformed, because the published snapshot has them with the same bytes.

    `rows` is their number. `outdated` has the keys of the published rows that the batch changes or lacks. `published`
    has the published rows with these keys and the keys of the transformed rows; `live_rows` counts all other published
    rows that are not removed. `batch_id` is the batch of the published snapshot.
    """

    rows: int
    outdated: pl.DataFrame
    published: pl.DataFrame = field(default_factory=pl.DataFrame)
    live_rows: int = 0
    batch_id: str = ""


@dataclass(frozen=True)
class TransformedBatch:
    """A transformed batch. `protected` has the ids of rejected rows: their published rows do not count as removed.

    `digests` recognise its rows in the next snapshot; None if they cannot.
    """

    endpoint: Endpoint
    folder: Path
    buckets: int
    rows_landed: int
    rows_rejected: int
    rows_erased: int
    rows_duplicate: int
    rows_superseded: int
    rows_conflicting: int
    plays_landed: int
    plays_rejected: int
    unknown_fields: dict[str, int]
    rows_with_unknown_fields: int
    protected: pl.Series
    newest_updated_at: datetime | None
    digests: SnapshotDigests | None = None
    recognised: RecognisedRows | None = None

    def parts(self, number: int) -> Iterator[pl.DataFrame]:
        """The rows of a bucket, one per key, in the order of the snapshot, in frames of bounded size."""
        frames = list[pl.DataFrame]()
        for path in _part_files(self.folder, number):
            frames.append(pl.read_parquet(path, glob=False))
            if sum(map(len, frames)) >= ROWS_PER_PART:
                yield pl.concat(frames)
                frames.clear()
        if frames:
            yield pl.concat(frames)

    def rejected(self) -> Iterator[pl.DataFrame]:
        """The rejected rows and plays, then the superseded and conflicting rows, in frames of bounded size."""
        for path in sorted(self.folder.glob("rejected/*.parquet")):
            yield pl.read_parquet(path, glob=False)


def transform(
    landing: Landing,
    endpoint: Endpoint,
    folder: Path,
    *,
    published: PublishedIds | None,
    latest: datetime,
    newest_until: datetime | None = None,
    row_filter: RowFilter | None = None,
    shaping: str = "",
) -> TransformedBatch:
    """Transform a landed batch into `folder`, which is emptied first.

    Rows with a time after `latest` are rejected. `newest_updated_at` ignores updates after `newest_until` (default:
    `latest`). References to rows that are not in `published` are rejected, unless it is None. Rows that `row_filter`
    matches are only counted. With `shaping`, a digest of all that decides what a row becomes, the result has digests.
    Raises LandingError if the raw pages cannot be read.
    """
    _prepare_folder(folder)
    buckets = max(1, -(-landing.rows // ROWS_PER_BUCKET))
    until = (newest_until or latest).replace(tzinfo=None)
    transformer = _Transformer(endpoint, folder, buckets, published, latest.replace(tzinfo=None), until, row_filter)
    page_digests: list[bytes] = []
    is_regular = True
    with _garbage_collection_disabled():
        for first_page, bodies in _steps(landing):
            page_rows = transformer.add(first_page, (first_page - 1) * landing.size, bodies)
            if shaping:
                page_digests += map(page_digest, bodies)
                full_pages = page_rows[:-1] if first_page + len(bodies) > landing.pages else page_rows
                is_regular = is_regular and all(rows == landing.size for rows in full_pages)
    transformer.deduplicate(landing)
    transformed = transformer.result()
    if not shaping or not is_regular or len(page_digests) != landing.pages:
        return transformed
    return replace(transformed, digests=transformer.digests(landing, shaping, b"".join(page_digests)))


def transform_changes(
    landing: Landing,
    endpoint: Endpoint,
    folder: Path,
    changes: RawChanges,
    snapshot: SnapshotDigests,
    *,
    published: PublishedIds | None,
    latest: datetime,
    newest_until: datetime,
    row_filter: RowFilter | None,
) -> TransformedBatch | None:
    """Transform only the rows that the published snapshot lacks; the counts are those of the whole batch.

    The other parameters are those of `transform`. Returns None if only a complete transformation gives exact counts.
    Raises LandingError if the raw pages cannot be read.
    """
    latest, newest_until = latest.replace(tzinfo=None), newest_until.replace(tzinfo=None)
    if latest < snapshot.latest or newest_until < snapshot.newest_until:
        return None
    _prepare_folder(folder)
    buckets = max(1, -(-len(changes.new) // ROWS_PER_BUCKET))
    transformer = _Transformer(endpoint, folder, buckets, published, latest, newest_until, row_filter)
    outdated = _Transformer(endpoint, folder, 1, None, snapshot.latest, snapshot.newest_until, row_filter)
    with _garbage_collection_disabled():
        for start in range(0, len(changes.new), ROWS_PER_STEP):
            transformer.add_rows(start, changes.new[start : start + ROWS_PER_STEP])
        outdated_rejected = decode_texts(endpoint, changes.outdated_rejected)
        outdated_keys = outdated.read_keys(changes.outdated)
    transformer.deduplicate(landing)
    rejected_texts = [text.decode("utf-8", "backslashreplace") for text in changes.outdated_rejected]
    protected = {readable_row_id(endpoint, text) for text in rejected_texts}
    outdated.count_decoded(outdated_rejected)
    if outdated_keys is None or not protected - {None} <= transformer.protected:
        return None
    if not transformer.count_recognised(changes.rows_unchanged, snapshot, outdated):
        return None
    return replace(
        transformer.result(),
        digests=transformer.digests(landing, snapshot.shaping, changes.pages),
        recognised=RecognisedRows(changes.rows_unchanged, outdated_keys),
    )


def _prepare_folder(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    make_private_folder(folder.parent)
    (folder / "rejected").mkdir(parents=True)


def transform_rows(
    endpoint: Endpoint, texts: Sequence[bytes], *, latest: datetime, row_filter: RowFilter | None = None
) -> tuple[pl.DataFrame, list[RejectedRow], int]:
    """Transform rows that come one by one, each as JSON text. Positions count from 1. References are not checked.

    Returns the valid rows, the rejected rows, and the number of rows that the filter matched.
    """
    until = latest.replace(tzinfo=None)
    transformer = _Transformer(endpoint, Path(), 1, None, until, until, row_filter)
    decoded = decode_texts(endpoint, texts)
    rows, rejected = transformer._reject_invalid_rows(_typed(decoded, endpoint), decoded)
    rows, rejected = transformer._apply_row_filter(rows, rejected)
    return rows, rejected, transformer.rows_erased + decoded.rows_erased


def _steps(landing: Landing) -> Iterator[tuple[int, list[bytes]]]:
    """Consecutive pages for one step: the number of the first page, and the bodies."""
    first_page, pages = 1, list[bytes]()
    for _, bodies in landing.chunks():
        pages += bodies
        if len(pages) * landing.size >= ROWS_PER_STEP:
            yield first_page, pages
            first_page, pages = first_page + len(pages), []
    if pages:
        yield first_page, pages


@contextmanager
def _garbage_collection_disabled() -> Iterator[None]:
    """Decoding creates millions of objects without cycles. A search for cycles would take longer than the decoding."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


@dataclass
class _Transformer:
    endpoint: Endpoint
    folder: Path
    buckets: int
    published: PublishedIds | None
    latest: datetime
    newest_until: datetime
    row_filter: RowFilter | None
    rows_landed: int = 0
    rows_rejected: int = 0
    rows_erased: int = 0
    rows_duplicate: int = 0
    rows_superseded: int = 0
    rows_conflicting: int = 0
    plays_landed: int = 0
    plays_rejected: int = 0
    unknown_fields: Counter[str] = field(default_factory=Counter)
    rows_with_unknown_fields: int = 0
    newest_updated_at: datetime | None = None
    newest_rows: int = 0
    protected: set[int] = field(default_factory=set)
    # Positions of rejected rows, and of other rows that must be decoded again in the next snapshot.
    rejected_positions: set[int] = field(default_factory=set)
    positions_to_decode: set[int] = field(default_factory=set)

    def add(self, part: int, offset: int, bodies: list[bytes]) -> Sequence[int]:
        """Transform consecutive pages. `offset` is the number of rows before them. Returns the rows of each page."""
        decoded = decode_rows(self.endpoint, bodies, offset, frozenset(self.unknown_fields))
        rows, rejected = self._accepted_and_rejected(decoded)
        self._count(decoded, rows, rejected)
        self._remember_positions(np.arange(offset + 1, offset + 1 + decoded.rows_landed), rows, rejected)
        self._write(part, rows, rejected)
        return decoded.page_rows

    def add_rows(self, part: int, raw: Sequence[RawRow]) -> None:
        """Transform single rows of the snapshot."""
        decoded = decode_texts(self.endpoint, [row.text for row in raw])
        rows, rejected = self._accepted_and_rejected(decoded)
        positions = [row.position for row in raw]
        index = pl.Series([0, *positions], dtype=pl.Int64)
        rows = rows.with_columns(row_position=index.gather(rows["row_position"]))
        rejected = [replace(row, row_position=positions[row.row_position - 1]) for row in rejected]
        self._count(decoded, rows, rejected)
        self._remember_positions(np.array(positions, dtype=np.int64), rows, rejected)
        self._write(part, rows, rejected)

    def read_keys(self, texts: Sequence[bytes]) -> pl.DataFrame | None:
        """Count published rows, and return the keys of those that are not erased. None if one is not valid."""
        decoded = decode_texts(self.endpoint, texts)
        rows, rejected = self._accepted_and_rejected(decoded)
        self._count(decoded, rows, rejected)
        is_valid = all(row.play_position is not None for row in rejected)
        return rows.select(ENDPOINTS[self.endpoint].key) if is_valid else None

    def _accepted_and_rejected(self, decoded: DecodedRows) -> tuple[pl.DataFrame, list[RejectedRow]]:
        rows, rejected = self._reject_invalid_rows(_typed(decoded, self.endpoint), decoded)
        return self._apply_row_filter(rows, rejected)

    def count_recognised(self, rows: int, snapshot: SnapshotDigests, outdated: _Transformer) -> bool:
        """Add the rows of the published snapshot, except the `outdated` ones, to the counts. False if not exact."""
        fields = snapshot.unknown_fields.keys() | outdated.unknown_fields.keys() | self.unknown_fields.keys()
        if OTHER_FIELDS in fields:
            return False
        newest = snapshot.newest_updated_at
        if newest is not None:
            remaining = snapshot.newest_rows - (outdated.newest_rows if outdated.newest_updated_at == newest else 0)
            if remaining > 0:
                self._count_newest(newest, remaining)
            elif self.newest_updated_at is None or self.newest_updated_at < newest:
                return False  # no new row is as new, and the newest of the recognised rows is not known
        self.rows_landed += rows
        self.plays_landed += snapshot.plays_landed - outdated.plays_landed
        self.rows_with_unknown_fields += snapshot.rows_with_unknown_fields - outdated.rows_with_unknown_fields
        self.unknown_fields.update(snapshot.unknown_fields)
        self.unknown_fields.subtract(outdated.unknown_fields)
        self.unknown_fields = Counter({name: count for name, count in self.unknown_fields.items() if count})
        return True

    def digests(self, landing: Landing, shaping: str, pages: bytes) -> SnapshotDigests | None:
        """The digests of the batch. None if too many rows must be decoded again."""
        positions = self.rejected_positions | self.positions_to_decode
        if len(positions) > _MAX_SHARE_TO_DECODE * landing.rows:
            return None
        pages_to_decode, rejected_rows = digests_at(landing, sorted(self.rejected_positions))
        more_pages, rows_to_decode = digests_at(landing, sorted(self.positions_to_decode - self.rejected_positions))
        is_short = landing.rows % landing.size if landing.size else 0
        short_pages = {landing.pages} if is_short or not landing.rows else set[int]()
        return SnapshotDigests(
            shaping=shaping,
            pages=pages,
            pages_to_decode=tuple(sorted({*pages_to_decode, *more_pages, *short_pages})),
            rejected_rows=np.unique(rejected_rows),
            rows_to_decode=np.unique(rows_to_decode),
            plays_landed=self.plays_landed,
            unknown_fields=Counter(self.unknown_fields),
            rows_with_unknown_fields=self.rows_with_unknown_fields,
            newest_updated_at=self.newest_updated_at,
            newest_rows=self.newest_rows,
            latest=self.latest,
            newest_until=self.newest_until,
        )

    def deduplicate(self, landing: Landing) -> None:
        """Keep one row per key. Superseded and conflicting rows are stored with their text and the reason."""
        differing_rows: list[pl.DataFrame] = []
        for number in range(self.buckets):
            key = ENDPOINTS[self.endpoint].key
            if not has_repeated_keys(_read_parts(self.folder, number, self.endpoint, key)):
                continue
            rows = _read_parts(self.folder, number, self.endpoint)
            self.positions_to_decode.update(rows.filter(pl.struct(key).is_duplicated())["row_position"])
            deduplicated = deduplicate(self.endpoint, rows)
            shutil.rmtree(_bucket_folder(self.folder, number))
            self._write_bucket(number, 1, deduplicated.rows)
            self.rows_duplicate += deduplicated.duplicates
            differing_rows.append(deduplicated.differing_rows)
        differing = pl.concat(differing_rows) if differing_rows else pl.DataFrame()
        if differing.is_empty():
            return
        self.rows_superseded += differing.filter(reason=SUPERSEDED).height
        self.rows_conflicting += differing.filter(reason=CONFLICTING).height
        for first_page, bodies in _steps(landing):
            offset = (first_page - 1) * landing.size
            in_step = differing.filter(
                pl.col("row_position").is_between(offset + 1, offset + len(bodies) * landing.size)
            )
            if not in_step.is_empty():
                texts = raw_texts(bodies)
                removed = [
                    RejectedRow(position, None, texts[position - offset - 1], reason)
                    for position, reason in in_step.iter_rows()
                ]
                self._write_rejected(f"repeated-keys-{first_page:09d}", removed)

    def result(self) -> TransformedBatch:
        return TransformedBatch(
            endpoint=self.endpoint,
            folder=self.folder,
            buckets=self.buckets,
            rows_landed=self.rows_landed,
            rows_rejected=self.rows_rejected,
            rows_erased=self.rows_erased,
            rows_duplicate=self.rows_duplicate,
            rows_superseded=self.rows_superseded,
            rows_conflicting=self.rows_conflicting,
            plays_landed=self.plays_landed,
            plays_rejected=self.plays_rejected,
            unknown_fields=_printable(self.unknown_fields),
            rows_with_unknown_fields=self.rows_with_unknown_fields,
            protected=pl.Series("protected", sorted(self.protected), dtype=pl.Int64),
            newest_updated_at=self.newest_updated_at,
        )

    def _reject_invalid_rows(self, rows: pl.DataFrame, decoded: DecodedRows) -> tuple[pl.DataFrame, list[RejectedRow]]:
        """The valid rows, and the rejected rows and plays with their reasons."""
        specification = ENDPOINTS[self.endpoint]
        rows, plays = self._reject_unknown_plays(rows, decoded)
        reasons = rows.select("row_position", specification.id_field, reason=self._reason()).drop_nulls("reason")
        if not reasons.is_empty():
            rows = rows.join(reasons, on="row_position", how="anti", maintain_order="left")
        rejected = [*decoded.rejected, *plays]
        rejected.extend(decoded.reject(position, reason, row_id) for position, row_id, reason in reasons.iter_rows())
        whole_rows = {row.row_position for row in rejected if row.play_position is None}
        rejected = [row for row in rejected if row.play_position is None or row.row_position not in whole_rows]
        return rows.drop(_problem_columns(specification)), rejected

    def _apply_row_filter(
        self, rows: pl.DataFrame, rejected: list[RejectedRow]
    ) -> tuple[pl.DataFrame, list[RejectedRow]]:
        """Remove the valid and rejected rows that the row filter matches."""
        specification = ENDPOINTS[self.endpoint]
        if not self.row_filter or not specification.is_personal:
            return rows, rejected
        # Published users are not excluded. If every valid row refers to one, only rejected rows need the filter.
        refers_to_published = self.published is not None and specification.field(specification.id_field).references
        ids = set() if refers_to_published else set(rows[specification.id_field].unique())
        matching_ids = self.row_filter.matching_ids(ids | {row.row_id for row in rejected if row.row_id is not None})
        positions = {row.row_position for row in rejected if row.row_id in matching_ids}
        for row in rejected:
            has_no_id = row.row_id is None and row.play_position is None
            if has_no_id and self.row_filter.matches_row_without_id(self.endpoint, row.raw_json):
                positions.add(row.row_position)
        if not matching_ids and not positions:
            return rows, rejected
        matches = pl.col(specification.id_field).is_in(pl.Series(sorted(matching_ids), dtype=pl.Int64).implode())
        positions |= set(rows.filter(matches)["row_position"])
        self.rows_erased += len(positions)
        return rows.filter(~matches), [row for row in rejected if row.row_position not in positions]

    def _reason(self) -> pl.Expr:
        """The reason why a typed row is rejected, or null."""
        specification = ENDPOINTS[self.endpoint]
        checks = [
            (pl.col(text).str.contains("\x00", literal=True), pl.lit(f"{text}: holds a NUL character"))
            for text in specification.texts
        ]
        for time in specification.times:
            checks.append((pl.col(time).is_null(), pl.lit(f"{time}: ") + pl.col(f"{time}_problem")))
            checks.append((pl.col(time) < EARLIEST, pl.lit(f"{time}: before {EARLIEST:%Y-%m-%d}")))
            checks.append((pl.col(time) > self.latest, pl.lit(f"{time}: in the future")))
        for column in specification.fields:
            if column.kind == "duration":
                checks.append(
                    (pl.col(f"{column.name}_seconds").is_null(), pl.lit(f"{column.name}: not of the form MM:SS"))
                )
            if column.kind == "id" and column.references and self.published is not None:
                is_published = pl.col(column.name).is_in(self.published[column.references].implode())
                checks.append((~is_published, pl.lit(_not_published(column))))
        reason = pl.lit(None, dtype=pl.String)
        for is_invalid, text in reversed(checks):
            reason = pl.when(is_invalid).then(text).otherwise(reason)
        return reason

    def _reject_unknown_plays(self, rows: pl.DataFrame, decoded: DecodedRows) -> tuple[pl.DataFrame, list[RejectedRow]]:
        """Remove plays of unpublished tracks from their sessions, and return them as rejected."""
        plays_field = next((field for field in ENDPOINTS[self.endpoint].fields if field.kind == "id_list"), None)
        if self.published is None or plays_field is None or plays_field.references is None:
            return rows, []
        is_published = pl.Series(decoded.tracks).is_in(self.published[plays_field.references].implode())
        if is_published.all():
            return rows, []
        plays = decoded.plays().with_columns(is_published=is_published)
        unknown = plays.filter(~pl.col("is_published"))
        rejected = [
            decoded.reject(position, _not_published(plays_field), None, play_position)
            for position, play_position in unknown.select("row_position", "play_position").iter_rows()
        ]
        return decoded.with_items(rows, plays.filter("is_published"), unknown["row_position"].unique()), rejected

    def _count(self, decoded: DecodedRows, rows: pl.DataFrame, rejected: list[RejectedRow]) -> None:
        self.count_decoded(decoded)
        self.rows_rejected += sum(row.play_position is None for row in rejected)
        self.plays_rejected += sum(row.play_position is not None for row in rejected)
        self.protected.update(row.row_id for row in rejected if row.row_id is not None and row.play_position is None)
        # A later update comes from a wrong clock, so it does not prove that the snapshot is fresh.
        newest = rows.select(pl.col("updated_at").filter(pl.col("updated_at") <= self.newest_until).max()).item()
        if isinstance(newest, datetime):
            self._count_newest(newest, rows.filter(updated_at=newest).height)

    def _count_newest(self, newest: datetime, rows: int) -> None:
        """Add rows with the update `newest`, after which none of them was updated."""
        if self.newest_updated_at is None or newest > self.newest_updated_at:
            self.newest_updated_at, self.newest_rows = newest, rows
        elif newest == self.newest_updated_at:
            self.newest_rows += rows

    def _remember_positions(
        self, positions: NDArray[np.int64], rows: pl.DataFrame, rejected: list[RejectedRow]
    ) -> None:
        """Remember which of the decoded rows must be decoded again in the next snapshot."""
        self.rejected_positions.update(row.row_position for row in rejected if row.play_position is None)
        self.positions_to_decode.update(row.row_position for row in rejected if row.play_position is not None)
        times = [pl.col(name) > self.newest_until for name in ENDPOINTS[self.endpoint].times]
        self.positions_to_decode.update(rows.filter(pl.any_horizontal(times))["row_position"])
        accepted = rows["row_position"].to_numpy()
        if len(accepted) < len(positions):  # the others are rejected or erased
            self.positions_to_decode.update(np.setdiff1d(positions, accepted).tolist())

    def count_decoded(self, decoded: DecodedRows) -> None:
        """Add what the decoding counted."""
        self.rows_landed += decoded.rows_landed
        self.rows_erased += decoded.rows_erased
        self.plays_landed += decoded.plays_landed
        add_field_counts(self.unknown_fields, decoded.unknown_fields)
        self.rows_with_unknown_fields += decoded.rows_with_unknown_fields

    def _write(self, part: int, rows: pl.DataFrame, rejected: list[RejectedRow]) -> None:
        if rejected:
            self._write_rejected(f"{part:09d}", rejected)
        hashed = rows.with_columns(row_hash=_row_hash(rows, self.endpoint))
        for number, bucket in enumerate(_split(hashed, ENDPOINTS[self.endpoint].id_field, self.buckets)):
            self._write_bucket(number, part, bucket)

    def _write_bucket(self, number: int, part: int, rows: pl.DataFrame) -> None:
        folder = _bucket_folder(self.folder, number)
        folder.mkdir(exist_ok=True)
        rows.write_parquet(folder / f"{part:09d}.parquet", compression="lz4", statistics=False)

    def _write_rejected(self, name: str, rejected: list[RejectedRow]) -> None:
        frame = pl.DataFrame(
            [(row.row_position, row.play_position, row.raw_json, row.reason) for row in rejected],
            schema={
                "row_position": pl.Int64,
                "play_position": pl.Int32,
                "raw_json": pl.String,
                "reason": pl.String,
            },
            orient="row",
        )
        frame.sort("row_position", "play_position").write_parquet(self.folder / "rejected" / f"{name}.parquet")


def _bucket_folder(folder: Path, number: int) -> Path:
    return folder / f"bucket-{number:04d}"


def _part_files(folder: Path, number: int) -> list[Path]:
    """The files of a bucket, in the order of the snapshot."""
    return sorted(_bucket_folder(folder, number).glob("*.parquet"))


def _read_parts(folder: Path, number: int, endpoint: Endpoint, columns: Sequence[str] | None = None) -> pl.DataFrame:
    """The rows of a bucket, with the given columns or all columns."""
    names = list(columns) if columns else None
    parts = _part_files(folder, number)
    rows = (
        pl.concat([pl.read_parquet(part, columns=names, glob=False) for part in parts]) if parts else _empty(endpoint)
    )
    return rows.select(names) if names else rows


def _printable(fields: Mapping[str, int]) -> dict[str, int]:
    """Rows by unknown field. The names are shortened and escaped, so that they can be stored and shown."""
    counts: Counter[str] = Counter()
    for name, rows in fields.items():
        counts[name.encode("unicode_escape").decode()[:_MAX_FIELD_NAME_LENGTH]] += rows
    return dict(counts)


def _not_published(field: Field) -> str:
    """The reason for rejecting a row or a play that refers to an unpublished row."""
    return f"{field.name}: no such {str(field.references).removesuffix('s')} is published"


def _problem_columns(specification: EndpointSpecification) -> tuple[str, ...]:
    """The columns with the reasons for invalid times."""
    return tuple(f"{time}_problem" for time in specification.times)


def _typed(decoded: DecodedRows, endpoint: Endpoint) -> pl.DataFrame:
    """The decoded columns, with times in UTC without a zone, reasons for invalid times, and durations in seconds."""
    specification = ENDPOINTS[endpoint]
    rows = decoded.frame.with_columns(
        column for name in specification.times for column in parse_times(decoded.frame[name])
    )
    return rows.with_columns(
        (
            pl.col(field.name).str.extract(_DURATION, 1).cast(pl.Int32) * 60
            + pl.col(field.name).str.extract(_DURATION, 2).cast(pl.Int32)
        ).alias(f"{field.name}_seconds")
        for field in specification.fields
        if field.kind == "duration"
    )


def _row_hash(rows: pl.DataFrame, endpoint: Endpoint) -> pl.Series:
    """A 64-bit hash of the content of each row, the same on every machine and in every version."""
    specification = ENDPOINTS[endpoint]
    columns = [
        pl.col(name).dt.timestamp("us").cast(pl.String) if name in specification.times else pl.col(name)
        for name in specification.content
    ]
    texts = rows.select(pl.concat_str(columns, separator=_SEPARATOR)).to_series()
    hashes = [xxhash.xxh3_64_intdigest(text.encode()) for text in texts]
    return pl.Series(hashes, dtype=pl.UInt64).reinterpret(signed=True)


def _split(rows: pl.DataFrame, key: str, buckets: int) -> list[pl.DataFrame]:
    if buckets == 1:
        return [rows]
    return [rows.filter(pl.col(key) % buckets == number) for number in range(buckets)]


def _empty(endpoint: Endpoint) -> pl.DataFrame:
    """An empty frame with the columns and types of transformed rows."""
    rows = _typed(decode_rows(endpoint, [], 0, frozenset()), endpoint)
    rows = rows.drop(_problem_columns(ENDPOINTS[endpoint]))
    return rows.with_columns(pl.lit(None, dtype=pl.Int64).alias("row_hash"))
