"""Daily quality: seconds to measure the recommendations of one day, against a statement that only counts hits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import partial

from benchmarks import sample_data
from benchmarks.context import NO_SOURCE, BenchmarkContext
from benchmarks.figures import NOISE, Figure, Measurement, PairedRuns, Table, run_in_turns
from benchmarks.processes import Show
from core.clock import utc_now
from core.database import Connection, connect, migrate
from core.settings import Settings
from recommender.monitoring.daily_quality import measure_day
from serving import keys

K = 20
_FACTORS = (1, 10, 30)
_DAYS_BEFORE, _FIRST = 27, date(2026, 10, 16)  # in two months, so that plays have two partitions
_KEYS = 3
_USUAL_USEFULNESS = 0.3


@dataclass(frozen=True)
class DayRuns:
    """The paired runs for one day, with its numbers of users and hits."""

    users: int
    hits: int
    runs: PairedRuns

    def __str__(self) -> str:
        return f"{self.users:,} users, {self.hits:,} with a hit"


def measure(context: BenchmarkContext) -> Measurement:
    """Compare both for each day."""
    users, tracks = context.capped(30_000, 40_000)
    settings = context.settings("daily_quality", NO_SOURCE)
    days = context.run(context.show, compare, settings, users, tracks, context.rounds).result
    smaller, largest = days[-2:]
    micros = [1e6 * day.runs.project / day.users for day in (largest, smaller)]
    figures = [
        Figure(
            "daily quality: a day, times one statement that counts hits",
            largest.runs.times_baseline,
            f"{largest.runs.project:.2f} s against {largest.runs.baseline:.2f} s, {largest}",
            at_most=10,
            breakdown="popular tracks for each user, and what each user had played before",
        ),
        Figure(
            "daily quality: time per user, the largest day against the one before",
            micros[0] / micros[1],
            f"{micros[0]:.0f} µs against {micros[1]:.0f} µs a user, {largest} against {smaller.users:,}",
            at_most=NOISE,
            breakdown="plays and recommendations that no longer fit into memory",
        ),
    ]
    return Measurement(figures, [_table(days)])


def compare(show: Show, settings: Settings, users: int, tracks: int, rounds: int) -> list[DayRuns]:
    """Measure each day both ways in turns, after the smallest to warm up."""
    url = settings.database_url.get_secret_value()
    migrate(url)
    users_of_days = [max(1, users * factor // _FACTORS[-1]) for factor in _FACTORS]
    with connect(url) as connection:
        publication_id = _fill(show, connection, users, tracks, users_of_days)
        _measure_day(connection, _FIRST + timedelta(_DAYS_BEFORE))
        days = []
        for offset, count in enumerate(users_of_days, _DAYS_BEFORE):
            day = _FIRST + timedelta(offset)
            show(f"measuring a day of {count:,} users")
            hits = _count_hits(connection, day, publication_id)
            runs = run_in_turns(
                rounds,
                partial(_measure_day, connection, day),
                partial(_count_hits, connection, day, publication_id),
                count=count,
                show=show,
            )
            days.append(DayRuns(count, hits, runs))
        return days


def _measure_day(connection: Connection, day: date) -> None:
    with connection.transaction():
        quality = measure_day(connection, day, K, _USUAL_USEFULNESS, utc_now())
    if quality.not_evaluated_reason:
        raise RuntimeError(f"{day} was not measured: {quality.not_evaluated_reason}")


def _count_hits(connection: Connection, day: date, publication_id: int) -> int:
    parameters = {"day": day, "publication": publication_id, "k": K}
    row = connection.execute(sample_data.read_sql("count_hits"), parameters).fetchone()
    return int(row[0]) if row else 0


def _fill(show: Show, connection: Connection, users: int, tracks: int, users_of_days: Sequence[int]) -> int:
    """Insert plays, answers, and recommendations that are live from the first measured day. Returns the publication."""
    show("generating a month of plays")
    connection.execute("select setseed(0)")
    sample_data.insert_catalogue(connection, users, tracks)
    users_of_all_days = [max(1, users // 5)] * _DAYS_BEFORE + list(users_of_days)
    sample_data.publish_sessions(connection, users, tracks, _FIRST, users_of_all_days)
    show(f"publishing recommendations for {users:,} users")
    live_from = datetime.combine(_FIRST + timedelta(_DAYS_BEFORE), time(), UTC)
    recommendations, similar = sample_data.make_recommendations(users, tracks), sample_data.make_similar_tracks(1, 0)
    publication_id = sample_data.publish(connection, recommendations, similar, live_from)
    apps = [keys.create(connection, f"app {app}", ["feedback:write"], utc_now()).key_id for app in range(_KEYS)]
    connection.execute(sample_data.read_sql("feedback"), {"keys": apps, "first": _FIRST})
    connection.execute("vacuum analyze")  # as autovacuum does
    return publication_id


def _table(days: Sequence[DayRuns]) -> Table:
    rows = [
        f"{day.users:,} | {day.hits:,} | {runs.project:.2f} | {runs.baseline:.2f} | {runs.times_baseline:.1f}"
        for day, runs in ((day, day.runs) for day in days)
    ]
    return Table("Daily quality", "users | with a hit | a day (s) | the statement (s) | ratio", rows)
