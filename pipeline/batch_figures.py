"""Figures of a batch, and whether they are in the range that the batches before it make normal.

A figure is a number, or a distribution over categories. A distribution is compared with the mean of the days before:
its value is the Jensen-Shannon divergence in bits (Lin, IEEE Transactions on Information Theory 37, 1991).
`core.normal_range` computes the ranges.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from typing import Any, LiteralString

import numpy as np
from numpy.typing import NDArray
from psycopg import sql
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from core.audits import LearnedRange
from core.database import Connection, readable_errors
from core.endpoints import LISTEN_HISTORY, TRACKS, USERS, Endpoint
from core.errors import UsageError
from core.normal_range import MAX_DAYS, DailyFigure, FigureKind, NormalRange, normal_range
from core.queries import Part, compose_query, load_query
from core.reasons import check_reason
from pipeline.batches import Batch
from pipeline.endpoint_tables import STAGING
from pipeline.staging import StagedTables

OTHER = "other"
# A distribution of fewer rows differs from day to day by chance alone, and is not compared.
MIN_ROWS = 1_000
# The most and the fewest days with which a distribution is compared.
_BASELINE_DAYS, _MIN_BASELINE_DAYS = 28, 7
# Smaller categories count as OTHER, as do those after the thirty largest: they may be mistyped, or personal.
_SMALLEST_SHARE, _SMALLEST_ROWS, _MAX_CATEGORIES = 0.01, 10, 30
# Two days are compared by the categories with so many times the smallest share.
_CLEAR_SHARE_FACTOR = 2


@dataclass(frozen=True)
class FigureSpecification:
    """A figure: its name in `ops.batch_figures`, how it varies, and what people call it."""

    name: str
    kind: FigureKind
    label: str


_REJECTED = FigureSpecification("rejected_rows", "share", "share of rejected rows")
FIGURES: Mapping[Endpoint, Sequence[FigureSpecification]] = {
    TRACKS: (
        FigureSpecification("rows", "level", "tracks"),
        FigureSpecification("new_rows", "count", "new tracks"),
        FigureSpecification("removed_rows", "count", "removed tracks"),
        FigureSpecification("median_duration", "level", "median duration in seconds"),
        FigureSpecification("long_duration", "level", "duration in seconds of the longest twentieth of the tracks"),
        FigureSpecification("blank_artists", "share", "share of tracks without an artist"),
        FigureSpecification("genres", "distance", "tracks by genre"),
        _REJECTED,
    ),
    USERS: (
        FigureSpecification("rows", "level", "users"),
        FigureSpecification("new_rows", "count", "new users"),
        FigureSpecification("removed_rows", "count", "removed users"),
        FigureSpecification("genders", "distance", "users by gender"),
        FigureSpecification("favorite_genres", "distance", "users by favourite genre"),
        _REJECTED,
    ),
    LISTEN_HISTORY: (
        FigureSpecification("sessions", "count", "sessions"),
        FigureSpecification("plays_per_session", "level", "plays per session"),
        FigureSpecification("sessions_per_user", "level", "sessions per active user"),
        FigureSpecification("repeated_sessions", "share", "share of sessions that repeat the plays of another session"),
        FigureSpecification("duplicate_rows", "share", "share of duplicate rows"),
        FigureSpecification("hours", "distance", "sessions by hour"),
        FigureSpecification("user_ids", "distance", "active users by range of ids"),
        FigureSpecification("favorite_genres", "distance", "active users by favourite genre"),
        FigureSpecification("played_genres", "distance", "plays by genre"),
        _REJECTED,
    ),
}
NUMBER_OF_FIGURES = sum(map(len, FIGURES.values()))


@dataclass(frozen=True)
class Measured:
    """The figures of a batch.

    `numbers` by name; `totals`: the rows that a share divides by; `parts`: the rows of a distribution by category.
    """

    numbers: Mapping[str, float | None]
    totals: Mapping[str, float] = field(default_factory=dict)
    parts: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class FigureResult:
    """A figure of a batch, with its normal range if enough days are known. `change` describes a distribution."""

    specification: FigureSpecification
    value: float | None
    total: float = 0.0
    parts: Mapping[str, float] | None = None
    range: NormalRange | None = None
    change: str = ""

    @property
    def is_normal(self) -> bool:
        """Whether the value is in its range, or cannot be compared."""
        return self.value is None or self.range is None or self.range.contains(self.value)


@dataclass(frozen=True)
class PastFigure:
    """A figure of an earlier published batch. `confirmed`: it was unusual, and a person confirmed it."""

    day: date
    figure: str
    value: float | None
    total: float
    parts: Mapping[str, float] | None
    expected: float | None
    is_normal: bool
    confirmed: bool

    @property
    def is_in_baseline(self) -> bool:
        """Whether it is part of what is normal."""
        return self.is_normal or self.confirmed


@readable_errors()
def check_figures(connection: Connection, batch: Batch, staged: StagedTables) -> list[LearnedRange]:
    """Measure a staged batch, record its figures, and add those with a range to its profile, for the audit.

    Returns the bounds of these figures; none for an endpoint without figures. Raises DatabaseError.
    """
    if batch.endpoint not in FIGURES:
        return []
    with connection.transaction():
        results = compare_with_history(measure(connection, batch, staged), batch, find_history(connection, batch))
        _save(connection, batch, results)
        compared = [(result, result.range) for result in results if result.range is not None]
        _add_to_profile(connection, staged, [result for result, _ in compared])
    return [_learned_range(result, normal, batch.day) for result, normal in compared]


def measure(connection: Connection, batch: Batch, staged: StagedTables) -> Measured:
    """The figures of a staged batch: the rows that will be current after it, and for sessions those of the last day."""
    tables: dict[str, Part] = {"batch": (STAGING, staged.rows_table), "removed": (STAGING, staged.removed_table)}
    counts = staged.counts
    rejected = {"rejected_rows": counts.rows_rejected / counts.rows_landed if counts.rows_landed else None}
    totals = {"rejected_rows": float(counts.rows_landed)}
    if batch.endpoint == LISTEN_HISTORY:
        stop = datetime.combine(batch.day, time(), UTC)
        start = datetime.combine(_days_before(batch.day, 1), time(), UTC)
        day_sessions = compose_query("audit/batch_figures.create_day_sessions", **tables)
        connection.execute(day_sessions, {"start": start, "stop": stop})
        numbers = _one_row(connection, compose_query("audit/batch_figures.measure_day_sessions"))
        parts = _parts(connection, compose_query("audit/batch_figures.count_day_parts"))
        same_key = counts.rows_duplicate + counts.rows_superseded + counts.rows_conflicting
        rejected["duplicate_rows"] = same_key / counts.rows_landed if counts.rows_landed else None
        totals |= {"duplicate_rows": float(counts.rows_landed), "repeated_sessions": numbers["sessions"] or 0.0}
        return Measured(numbers | rejected, totals, parts)
    snapshot = _recorded(connection, batch.endpoint, staged.same_rows_as)
    if snapshot is None:
        snapshot = _measure_snapshot(connection, batch.endpoint, tables)
    if batch.endpoint == TRACKS:
        totals["blank_artists"] = snapshot.numbers["rows"] or 0.0
    return Measured({**snapshot.numbers, **rejected}, totals, snapshot.parts)


def _recorded(connection: Connection, endpoint: Endpoint, batch_id: str) -> Measured | None:
    """The figures of the same rows, as a published batch recorded them. None if it did not record them completely."""
    recorded = {
        figure: (value, parts)
        for figure, value, parts in connection.execute(
            load_query("ops/batch_figures.find_figures"), {"batch_id": batch_id}
        )
    }
    specifications = [specification for specification in FIGURES[endpoint] if specification is not _REJECTED]
    if not recorded.keys() >= {specification.name for specification in specifications}:
        return None
    numbers = {each.name: recorded[each.name][0] for each in specifications if each.kind != "distance"}
    parts = {each.name: recorded[each.name][1] for each in specifications if each.kind == "distance"}
    # A distribution with OTHER and all other places taken would lose a category.
    if any(distribution is None or len(distribution) > _MAX_CATEGORIES for distribution in parts.values()):
        return None
    return Measured(numbers | {"new_rows": 0.0, "removed_rows": 0.0}, parts=parts)


def _measure_snapshot(connection: Connection, endpoint: Endpoint, tables: Mapping[str, Part]) -> Measured:
    """Read all tracks or users that will be current after the batch."""
    if endpoint == TRACKS:
        _create_snapshot(connection, endpoint, "track_snapshot", "duration_seconds, artist, genres", tables)
        numbers = _one_row(connection, compose_query("audit/batch_figures.measure_tracks", **tables))
        parts = _parts(connection, compose_query("audit/batch_figures.count_track_genres"))
    else:
        _create_snapshot(connection, endpoint, "user_snapshot", "gender, favorite_genres", tables)
        numbers = _one_row(connection, compose_query("audit/batch_figures.measure_users", **tables))
        parts = _parts(connection, compose_query("audit/batch_figures.count_user_parts"))
    return Measured(numbers, parts=parts)


def _create_snapshot(
    connection: Connection, endpoint: Endpoint, name: str, columns: LiteralString, tables: Mapping[str, Part]
) -> None:
    parts = {**tables, "snapshot": name, "published": ("warehouse", endpoint), "columns": sql.SQL(columns)}
    connection.execute(compose_query("audit/batch_figures.create_snapshot", **parts))


def find_history(connection: Connection, batch: Batch) -> list[PastFigure]:
    """The figures of the published batches of the endpoint in the days before, oldest first."""
    values = {"endpoint": batch.endpoint, "day": batch.day, "days": MAX_DAYS}
    return [PastFigure(*row) for row in connection.execute(load_query("ops/batch_figures.find_figure_history"), values)]


def compare_with_history(measured: Measured, batch: Batch, history: Iterable[PastFigure]) -> list[FigureResult]:
    """Compare the figures of a batch with those of the days before."""
    past: dict[str, list[PastFigure]] = defaultdict(list)
    for figure in history:
        if figure.is_in_baseline:
            past[figure.figure].append(figure)
    return [
        (_compare_distribution if specification.kind == "distance" else _compare_number)(
            specification, measured, batch.day, past[specification.name]
        )
        for specification in FIGURES[batch.endpoint]
    ]


def _compare_number(
    specification: FigureSpecification, measured: Measured, day: date, past: Sequence[PastFigure]
) -> FigureResult:
    value, total = measured.numbers.get(specification.name), measured.totals.get(specification.name, 0.0)
    return FigureResult(specification, value, total, range=_range(specification, day, past, total))


def _compare_distribution(
    specification: FigureSpecification, measured: Measured, day: date, past: Sequence[PastFigure]
) -> FigureResult:
    parts = _large_categories(measured.parts.get(specification.name, {}))
    baseline = _baseline(past, day)
    rows = sum(parts.values())
    if rows < MIN_ROWS or not baseline:
        return FigureResult(specification, None, parts=parts)
    shares, baseline = _with_same_categories(_shares(parts), baseline, rows)
    distance, change = jensen_shannon(shares, baseline), _largest_change(shares, baseline)
    normal = _range(specification, day, past, rows, len(shares.keys() | baseline.keys()))
    return FigureResult(specification, distance, rows, parts, normal, change)


def _with_same_categories(
    shares: Mapping[str, float], baseline: Mapping[str, float], rows: float
) -> tuple[dict[str, float], dict[str, float]]:
    """Add categories to OTHER, on both sides, that were not clearly above the limit for a name in the days before.

    Such categories have a name on some days and count as OTHER on others, which is no change. A large new category
    keeps its name.
    """
    limit = _CLEAR_SHARE_FACTOR * max(_SMALLEST_SHARE, _SMALLEST_ROWS / rows)
    clear = {part for part, share in baseline.items() if share >= limit}
    clear |= {part for part, share in shares.items() if share >= _CLEAR_SHARE_FACTOR * limit}
    return _fold(shares, clear), _fold(baseline, clear)


def _fold(distribution: Mapping[str, float], named: set[str]) -> dict[str, float]:
    folded: dict[str, float] = defaultdict(float)
    for part, share in distribution.items():
        folded[part if part in named else OTHER] += share
    return dict(folded)


def _range(
    specification: FigureSpecification, day: date, past: Sequence[PastFigure], total: float, categories: int = 0
) -> NormalRange | None:
    replaces = specification.kind != "distance"  # the baseline of a distribution starts again
    history = [
        DailyFigure(
            figure.day.toordinal(),
            figure.value,
            figure.total,
            figure.expected if replaces and figure.confirmed else None,
        )
        for figure in past
        if figure.value is not None and (replaces or not figure.confirmed)
    ]
    return normal_range(
        history,
        day.toordinal(),
        specification.kind,
        figures=NUMBER_OF_FIGURES,
        total=total,
        categories=categories,
    )


def _days_before(day: date, days: int) -> date:
    """The day so many days before, but not before the first day that exists."""
    return date.fromordinal(max(1, day.toordinal() - days))


def _baseline(past: Sequence[PastFigure], day: date) -> dict[str, float]:
    """The mean share of each category in the days before, or since a change that a person confirmed."""
    first_day = _days_before(day, _BASELINE_DAYS)
    recent = [figure for figure in past if figure.parts and first_day <= figure.day]
    confirmed = [number for number, figure in enumerate(recent) if figure.confirmed]
    if confirmed:
        recent = recent[confirmed[-1] :]
    elif len(recent) < _MIN_BASELINE_DAYS:
        return {}
    shares: dict[str, float] = defaultdict(float)
    for figure in recent:
        for part, share in _shares(figure.parts or {}).items():
            shares[part] += share / len(recent)
    return dict(shares)


def jensen_shannon(shares: Mapping[str, float], baseline: Mapping[str, float]) -> float:
    """The Jensen-Shannon divergence of two distributions in bits: from 0 to 1."""
    parts = sorted(shares.keys() | baseline.keys())
    first, second = (np.array([distribution.get(part, 0.0) for part in parts]) for distribution in (shares, baseline))
    middle = (first + second) / 2
    return (_relative_entropy(first, middle) + _relative_entropy(second, middle)) / 2


def _relative_entropy(shares: NDArray[np.float64], middle: NDArray[np.float64]) -> float:
    positive = shares > 0
    return float(np.sum(shares[positive] * np.log2(shares[positive] / middle[positive])))


def _largest_change(shares: Mapping[str, float], baseline: Mapping[str, float]) -> str:
    part = max(shares.keys() | baseline.keys(), key=lambda part: abs(shares.get(part, 0.0) - baseline.get(part, 0.0)))
    return f"{part} {100 * shares.get(part, 0.0):.3g} %, usually {100 * baseline.get(part, 0.0):.3g} %"


def _large_categories(parts: Mapping[str, float]) -> dict[str, float]:
    rows = sum(parts.values())
    large = sorted(
        (part for part, count in parts.items() if count >= max(_SMALLEST_ROWS, _SMALLEST_SHARE * rows)),
        key=lambda part: (-parts[part], part),
    )[:_MAX_CATEGORIES]
    named = {part: parts[part] for part in large}
    remaining = rows - sum(named.values())
    return named | {OTHER: named.get(OTHER, 0.0) + remaining} if remaining else named


def _shares(parts: Mapping[str, float]) -> dict[str, float]:
    rows = sum(parts.values())
    return {part: count / rows for part, count in parts.items()}


def _learned_range(result: FigureResult, normal: NormalRange, day: date) -> LearnedRange:
    kind, label = result.specification.kind, result.specification.label
    observed = "nothing to compare with" if result.value is None else _text(result.value, kind)
    lower, upper = _text(normal.lower, kind), _text(normal.upper, kind)
    usual = f"up to {upper}" if kind == "distance" else f"{lower} to {upper}"
    day_text = f"{day:%A} {day}"
    detail = (
        f"{result.change} (distance {observed}; usually {usual})" if result.change else f"{observed}; usually {usual}"
    )
    return LearnedRange(
        figure=_column(result.specification),
        lower=normal.lower,
        upper=normal.upper,
        requirement=f"{label}: as in the {normal.days} days before ({usual})",
        observed=observed,
        description=f"{label} in the batch of {day_text}: {detail}",
    )


def _text(value: float, kind: FigureKind) -> str:
    if kind == "share":
        return f"{100 * value:.3g} %"
    return f"{value:,.0f}" if kind == "count" or value >= 1_000 else f"{value:.3g}"


def _column(specification: FigureSpecification) -> str:
    return f"usual_{specification.name}"


def _save(connection: Connection, batch: Batch, results: Sequence[FigureResult]) -> None:
    connection.execute(load_query("ops/batch_figures.delete_figures"), {"batch_id": batch.batch_id})
    bounds = ("expected", "lower", "upper")
    with connection.cursor() as cursor:
        cursor.executemany(
            load_query("ops/batch_figures.insert_figure"),
            [
                {
                    "batch_id": batch.batch_id,
                    "figure": result.specification.name,
                    "value": result.value,
                    "total": result.total,
                    "parts": None if result.parts is None else Jsonb(result.parts),
                    "is_normal": result.is_normal,
                }
                | {name: getattr(result.range, name, None) for name in bounds}
                for result in results
            ],
        )


def _add_to_profile(connection: Connection, staged: StagedTables, results: Sequence[FigureResult]) -> None:
    columns = [
        sql.SQL("add column if not exists {} double precision default {}").format(
            sql.Identifier(_column(result.specification)), sql.Literal(result.value)
        )
        for result in results
    ]
    if columns:
        table = sql.Identifier(STAGING, staged.profile_table)
        connection.execute(sql.SQL("alter table {} {}").format(table, sql.SQL(", ").join(columns)))


def _one_row(connection: Connection, query: sql.Composed) -> dict[str, float | None]:
    row: dict[str, Any] | None = connection.cursor(row_factory=dict_row).execute(query).fetchone()
    return dict(row or {})


def _parts(connection: Connection, query: sql.Composed) -> dict[str, dict[str, float]]:
    parts: dict[str, dict[str, float]] = defaultdict(dict)
    for figure, part, rows in connection.execute(query):
        parts[figure][part] = float(rows)
    return parts


@readable_errors()
def confirm_figure(
    connection: Connection, batch_id: str, figure: str, *, reason: str, confirmed_by: str, now: datetime
) -> None:
    """Record that an unusual figure is correct: later days are compared with it. A second call changes nothing.

    Raises UsageError if the batch has no such figure, or it was normal.
    """
    reason, confirmed_by = check_reason(reason, "--why"), check_reason(confirmed_by, "--by")
    values = {"batch_id": batch_id, "figure": figure}
    row = connection.execute(load_query("ops/batch_figures.find_figure"), values).fetchone()
    if row is None:
        raise UsageError(f"{batch_id} has no figure {figure!r}; ops.batch_figures lists those of each batch")
    if row[0]:
        raise UsageError(f"{figure} of {batch_id} is not unusual; there is nothing to confirm")
    connection.execute(
        load_query("ops/batch_figures.confirm_figure"),
        values | {"reason": reason, "confirmed_by": confirmed_by, "now": now},
    )
