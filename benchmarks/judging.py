"""Judging: seconds to measure how good one day's lists were, against one statement that only counts hits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import polars as pl
from psycopg import sql

from benchmarks.bench import Bench
from benchmarks.figures import Figure, Measured, Scaling, Table, at_most
from benchmarks.processes import Show
from benchmarks.raw_copies import seconds_of
from core.database import Connection, connect, migrate
from core.endpoints import LISTEN_HISTORY
from core.settings import Settings
from pipeline import staging, warehouse
from pipeline.batches import Batch, Counts
from pipeline.endpoint_tables import STAGING, create_removed_table, create_rows_table
from pipeline.staging import StagedTables
from recommender.models.recipe import Recipe
from recommender.monitoring.daily_quality import measure_day
from recommender.publishing import model_runs, publication
from recommender.publishing.publication import PublicationOptions
from serving import keys

HOW = (
    "`measure_day`, which says how good the lists that were live on a day turned out to be, against one SQL statement"
    " that joins the plays of the day with the first tracks of the lists and counts listeners with a hit; taking turns"
    " in one process, the median of the ratios. One database with a month of plays, its marts, everyone's list and"
    " answers of one listener in five; the days differ in how many people listened."
)
K, LENGTH = 20, 50
_MOST_LISTENERS, _MOST_TRACKS = 30_000, 40_000
_FACTORS = (1, 10, 30)
_DAYS_BEFORE, _FIRST = 27, date(2026, 10, 16)  # in two months, so that plays have two partitions
_KEYS = 3
_USUAL_USEFULNESS = 0.3
# Two runs of the same thing differ by this much.
_NOISE = 1.1
_FOLDER = Path(__file__).parent / "sql"


@dataclass(frozen=True)
class Turns:
    """Seconds of both sides, turn by turn, for a day with so many listeners and hits."""

    listeners: int
    hits: int
    seconds: list[tuple[float, float]]

    @property
    def ours(self) -> float:
        return median(ours for ours, _ in self.seconds)

    @property
    def bare(self) -> float:
        return median(bare for _, bare in self.seconds)

    @property
    def ratio(self) -> float:
        return median(ours / bare for ours, bare in self.seconds)


def measure(bench: Bench) -> Measured:
    """Both ways for each day, taking turns."""
    most, tracks = min(bench.sizes.users, _MOST_LISTENERS), min(bench.sizes.tracks, _MOST_TRACKS)
    settings = bench.settings("judging", "http://127.0.0.1:1")  # nothing is fetched
    days = bench.run(bench.show, take_turns, settings, most, tracks, bench.rounds).result
    before, largest = days[-2:]
    ratio = Figure(
        name="judging: a day, times one statement that counts hits",
        number=largest.ratio,
        unit="",
        target=at_most(10),
        measured=f"{largest.ours:.2f} s against {largest.bare:.2f} s, {_said(largest)}",
        spent="what each would have been shown of what is popular, and what they had played before",
    )
    a_listener = [1e6 * day.ours / day.listeners for day in (largest, before)]
    growth = Figure(
        name="judging: time per listener, the largest day against the one before",
        number=a_listener[0] / a_listener[1],
        unit="",
        target=at_most(_NOISE),
        measured=f"{a_listener[0]:.0f} µs against {a_listener[1]:.0f} µs a listener, {_said(largest)} against "
        f"{before.listeners:,}",
        spent="plays and lists that no longer fit into memory",
    )
    return Measured(HOW, [ratio, growth], [_table(days)])


def take_turns(show: Show, settings: Settings, most: int, tracks: int, rounds: int) -> list[Turns]:
    """Measure each day both ways, each `rounds` times, after the smallest to warm up."""
    url = settings.database_url.get_secret_value()
    migrate(url)
    listeners = [max(1, most * factor // _FACTORS[-1]) for factor in _FACTORS]
    with connect(url) as connection:
        number = _fill(show, connection, most, tracks, listeners)
        _measure_day(connection, _FIRST + timedelta(_DAYS_BEFORE))
        return [
            _judge(show, connection, _FIRST + timedelta(offset), number, count, rounds)
            for offset, count in enumerate(listeners, _DAYS_BEFORE)
        ]


def _judge(show: Show, connection: Connection, day: date, number: int, listeners: int, rounds: int) -> Turns:
    show(f"judging a day of {listeners:,} listeners")
    hits = _count_hits(connection, day, number)
    seconds = []
    for _ in range(rounds):
        ours = seconds_of(lambda: _measure_day(connection, day))
        seconds.append((ours, seconds_of(lambda: _count_hits(connection, day, number))))
    return Turns(listeners, hits, seconds)


def _measure_day(connection: Connection, day: date) -> None:
    with connection.transaction():
        found = measure_day(connection, day, K, _USUAL_USEFULNESS, datetime.now(UTC))
    if found.not_evaluated_reason:
        raise RuntimeError(f"{day} was not measured: {found.not_evaluated_reason}")


def _count_hits(connection: Connection, day: date, number: int) -> int:
    row = connection.execute(_text("judging_hits"), {"day": day, "publication": number, "k": K}).fetchone()
    return int(row[0]) if row else 0


def _fill(show: Show, connection: Connection, most: int, tracks: int, listeners: Sequence[int]) -> int:
    """Plays, lists that were live before the days that are judged, and answers. Returns the publication."""
    sizes: dict[str, Any] = {"most": most, "tracks": tracks, "length": LENGTH, "first": _FIRST}
    sizes["listeners"] = [max(1, most // 5)] * _DAYS_BEFORE + list(listeners)
    show("judging: making up a month of plays")
    connection.execute("select setseed(0)")
    connection.execute(_text("serving_listeners"), {"listeners": most})
    connection.execute(_text("serving_tracks"), sizes)
    for table in ("users", "tracks"):  # they were there before anybody played
        connection.execute(sql.SQL("update warehouse.{} set created_at = %s").format(sql.Identifier(table)), [_FIRST])
    _play(connection, sizes)
    show(f"judging: lists for {most:,} listeners")
    number = _publish(connection, most, tracks)
    now = datetime.now(UTC)
    apps = [keys.create(connection, f"app {app}", ["feedback:write"], now).key_id for app in range(_KEYS)]
    connection.execute(_text("judging_feedback"), {"keys": apps, "first": _FIRST})
    connection.execute("vacuum analyze")  # as the server does by and by
    return number


def _play(connection: Connection, sizes: dict[str, Any]) -> None:
    """Sessions, as an ingest publishes them: with month partitions, and counted in the marts."""
    batch = Batch(LISTEN_HISTORY, _FIRST + timedelta(len(sizes["listeners"])), "http://127.0.0.1:1")
    rows, profile, removed = staging.table_names(batch)
    connection.execute(create_rows_table(LISTEN_HISTORY, rows))
    connection.execute(create_removed_table(LISTEN_HISTORY, removed))
    connection.execute(_text("judging_sessions").replace("{staged}", f'"{STAGING}"."{rows}"'), sizes)
    now = datetime.now(UTC)
    warehouse.publish_batch(
        connection,
        batch,
        StagedTables(rows, profile, removed, Counts()),
        started_at=now,
        run_id=None,
        clock=lambda: now,
    )


def _publish(connection: Connection, most: int, tracks: int) -> int:
    """Everyone's list, live when the first day that is judged begins."""
    live_from = datetime.combine(_FIRST + timedelta(_DAYS_BEFORE), time(), UTC)
    run = model_runs.start_model_run(
        connection,
        recipe=Recipe("none"),
        seed=0,
        data_as_of=live_from,
        batches=[],
        code_version="benchmark",
        now=live_from,
    )
    made = publication.start_publication(
        connection, model_run_id=run, flow="benchmark", data_as_of=live_from, batches=[], now=live_from
    )
    manner = PublicationOptions(LENGTH, exclude_seen=True, personal=True)
    lists = _lists(most, tracks)
    similar = lists.head(0).select("track_id", "rank", pl.col("user_id").alias("similar_track_id"), "score")
    publication.stage_recommendations(connection, made, [lists], similar, manner)
    publication.attach_partitions(connection, made)
    popular = lists.head(LENGTH).select(
        pl.lit("").alias("genre"), "rank", pl.col("rank").cast(pl.Int64).alias("track_id"), "score"
    )
    publication.publish_recommendations(connection, made, popular, replacing=None, now=live_from, why="measured")
    return made.publication_id


def _lists(most: int, tracks: int) -> pl.DataFrame:
    """A list for each listener, by the arithmetic that `sql/judging_sessions.sql` plays from."""
    users, ranks = np.repeat(np.arange(1, most + 1), LENGTH), np.tile(np.arange(1, LENGTH + 1), most)
    return pl.DataFrame(
        {
            "user_id": users,
            "rank": ranks.astype(np.int32),
            "track_id": 1 + (users * 7_919 + ranks * 104_729) % tracks,
            "score": 1.0 / ranks,
        }
    )


def _table(days: Sequence[Turns]) -> Table:
    rows = [
        [f"{day.listeners:,}", f"{day.hits:,}", f"{day.ours:.2f}", f"{day.bare:.2f}", f"{day.ratio:.1f}"]
        for day in days
    ]
    first = days[0].listeners
    scaling = Scaling("listeners a day", [(day.listeners // first, day.ours) for day in days])
    how = (
        "Seconds to measure a day, and of the statement that only counts hits. Over listeners a day, ours grow with"
        f" an exponent of {scaling.exponent:.2f}; 1 is in proportion."
    )
    return Table("Judging a day", ["listeners", "with a hit", "a day (s)", "the statement (s)", "times"], rows, how)


def _said(day: Turns) -> str:
    return f"{day.listeners:,} listeners, {day.hits:,} with a hit"


def _text(name: str) -> str:
    return (_FOLDER / f"{name}.sql").read_text()
