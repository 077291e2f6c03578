"""Daily quality: seconds to measure the recommendations of one day, against a statement that only counts hits."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta

from benchmarks import sample_data
from benchmarks.context import NO_SOURCE, BenchmarkContext, migrate_and_connect
from benchmarks.figures import NOISE, Figure, Measurement, PairedRuns, Table, run_in_turns
from benchmarks.processes import Show
from core.clock import utc_now
from core.database import Connection
from core.settings import Settings
from recommender.monitoring.daily_quality import measure_day
from serving import keys

K = 20
_FACTORS = (1, 10, 30)
_DAYS_BEFORE, _FIRST = 27, date(2026, 10, 16)  # in two months, so that plays have two partitions
_KEYS = 3
_USUAL_USEFULNESS = 0.3


def measure(context: BenchmarkContext) -> Measurement:
    """Compare both for each day."""
    return context.measure(compare, context.settings("daily_quality", NO_SOURCE), *context.capped(30_000, 40_000))


def compare(show: Show, settings: Settings, users: int, tracks: int, rounds: int) -> Measurement:
    """Measure each day both ways in turns, after the smallest to warm up."""
    users_of_days = [max(1, users * factor // _FACTORS[-1]) for factor in _FACTORS]
    with migrate_and_connect(settings) as connection:
        publication_id = _fill(show, connection, users, tracks, users_of_days)

        def evaluate(day: date) -> None:
            with connection.transaction():
                quality = measure_day(connection, day, K, _USUAL_USEFULNESS, utc_now())
            if quality.not_evaluated_reason:
                raise RuntimeError(f"{day} was not measured: {quality.not_evaluated_reason}")

        def count_hits(day: date) -> int:
            parameters = {"day": day, "publication": publication_id, "k": K}
            row = connection.execute(sample_data.read_sql("count_hits"), parameters).fetchone()
            return int(row[0]) if row else 0

        def compare_day(day: date, count: int) -> PairedRuns:
            show(f"measuring a day of {count:,} users")
            return run_in_turns(rounds, lambda: evaluate(day), lambda: count_hits(day), count=count, show=show)

        evaluate(_FIRST + timedelta(_DAYS_BEFORE))
        days = [(_FIRST + timedelta(number), count) for number, count in enumerate(users_of_days, _DAYS_BEFORE)]
        measured = [(count_hits(day), compare_day(day, count)) for day, count in days]
    (_, smaller), (hits, largest) = measured[-2:]
    micros = [1e6 * runs.project / runs.count for runs in (largest, smaller)]
    sizes = f"{largest.count:,} users, {hits:,} with a hit"
    figures = [
        largest.times_figure(
            "daily quality: a day, times one statement that counts hits",
            f", {sizes}",
            digits=2,
            at_most=10,
            breakdown="popular tracks for each user, and what each user had played before",
        ),
        Figure(
            "daily quality: time per user, the largest day against the one before",
            micros[0] / micros[1],
            f"{micros[0]:.0f} µs against {micros[1]:.0f} µs a user, {sizes} against {smaller.count:,}",
            at_most=NOISE,
            breakdown="plays and recommendations that no longer fit into memory",
        ),
    ]
    rows = [
        f"{runs.count:,} | {hits:,} | {runs.project:.2f} | {runs.baseline:.2f} | {runs.times_baseline:.1f}"
        for hits, runs in measured
    ]
    header = "users | with a hit | a day (s) | the statement (s) | ratio"
    return Measurement(figures, [Table("Daily quality", header, rows)])


def _fill(show: Show, connection: Connection, users: int, tracks: int, users_of_days: Sequence[int]) -> int:
    """Insert plays, answers, and recommendations that are live from the first measured day. Returns the publication."""
    show("generating a month of plays")
    connection.execute("select setseed(0)")
    sample_data.insert_catalogue(connection, users, tracks)
    users_of_all_days = [max(1, users // 5)] * _DAYS_BEFORE + list(users_of_days)
    sample_data.publish_sessions(connection, users, tracks, _FIRST, users_of_all_days)
    show(f"publishing recommendations for {users:,} users")
    live_from = datetime.combine(_FIRST + timedelta(_DAYS_BEFORE), time(), UTC)
    recommendations = sample_data.make_recommendations(users, tracks)
    publication_id = sample_data.publish(connection, recommendations, now=live_from)
    apps = [keys.create(connection, f"app {app}", ["feedback:write"], utc_now()).key_id for app in range(_KEYS)]
    connection.execute(sample_data.read_sql("feedback"), {"keys": apps, "first": _FIRST})
    connection.execute("vacuum analyze")  # as autovacuum does
    return publication_id
