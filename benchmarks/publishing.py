"""Publishing: rows a second of a publication, from frames to live, against a raw COPY of the same rows."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from statistics import median

import numpy as np
import polars as pl

from benchmarks.bench import Bench
from benchmarks.figures import Figure, Measured, at_least
from benchmarks.processes import Show
from benchmarks.raw_copies import seconds_of
from core.database import Connection, connect, migrate
from core.frames import as_csv, copy_into
from core.queries import compose_query
from core.settings import Settings
from recommender.models.recipe import Recipe
from recommender.publishing import model_runs, publication
from recommender.publishing.publication import PublicationOptions

HOW = (
    "`stage`, `attach` and `publish` of everyone's list and of similar tracks, as frames in memory, until they are live"
    " (their profile, statistics and keys included, the audit not), against a COPY of the same rows, as CSV in memory,"
    " into two bare tables of the same columns; taking turns in one process, the median of the ratios."
)
_LENGTH, _SIMILAR = 50, 20
_MOST_LISTENERS, _MOST_TRACKS = 30_000, 40_000


@dataclass(frozen=True)
class Turns:
    """Seconds of both sides, turn by turn, for so many rows."""

    rows: int
    seconds: list[tuple[float, float]]


def measure(bench: Bench) -> Measured:
    """Both ways, taking turns."""
    listeners, tracks = min(bench.sizes.users, _MOST_LISTENERS), min(bench.sizes.tracks, _MOST_TRACKS)
    settings = bench.settings("publishing", "http://127.0.0.1:1")  # nothing is fetched
    turns = bench.run(bench.show, take_turns, settings, listeners, tracks, bench.rounds).result
    ours, raw = (median(side) for side in zip(*turns.seconds, strict=True))
    figure = Figure(
        name="publishing: rows a second, share of a raw COPY",
        number=median(copied / published for published, copied in turns.seconds),
        unit="",
        target=at_least(0.6),
        measured=f"{turns.rows / ours:,.0f} rows a second against {turns.rows / raw:,.0f}; "
        f"{listeners * _LENGTH:,} recommendations, {tracks * _SIMILAR:,} similar tracks",
    )
    return Measured(HOW, [figure])


def take_turns(show: Show, settings: Settings, listeners: int, tracks: int, rounds: int) -> Turns:
    """Publish and raw COPY, each `rounds` times, after one publication to warm up."""
    url = settings.database_url.get_secret_value()
    migrate(url)
    lists = _ranked("user_id", "track_id", listeners, _LENGTH, tracks)
    similar = _ranked("track_id", "similar_track_id", tracks, _SIMILAR, tracks)
    copies = [b"".join(as_csv(frame)) for frame in (lists, similar)]
    seconds = []
    with connect(url) as connection:
        run = model_runs.start_model_run(
            connection,
            recipe=Recipe("none"),
            seed=0,
            data_as_of=_now(),
            batches=[],
            code_version="benchmark",
            now=_now(),
        )
        _publish(connection, run, lists, similar)
        for turn in range(rounds):
            show(f"publishing, {turn + 1} of {rounds}")
            ours = seconds_of(lambda: _publish(connection, run, lists, similar))
            show(f"raw COPY, {turn + 1} of {rounds}")
            seconds.append((ours, seconds_of(lambda: _copy(connection, lists, similar, copies))))
            connection.execute("drop table staging.raw_recommendations, staging.raw_similar_tracks")
    return Turns(len(lists) + len(similar), seconds)


def _publish(connection: Connection, run: int, lists: pl.DataFrame, similar: pl.DataFrame) -> None:
    made = publication.start_publication(
        connection, model_run_id=run, flow="benchmark", data_as_of=_now(), batches=[], now=_now()
    )
    publication.stage_recommendations(
        connection, made, [lists], similar, PublicationOptions(_LENGTH, exclude_seen=True, personal=True)
    )
    publication.attach_partitions(connection, made)
    fallbacks = lists.head(_LENGTH).select(pl.lit("").alias("genre"), "rank", "track_id", "score")
    replacing = publication.newest_live_id(connection)
    publication.publish_recommendations(connection, made, fallbacks, replacing=replacing, now=_now(), why="measured")


def _copy(connection: Connection, lists: pl.DataFrame, similar: pl.DataFrame, copies: list[bytes]) -> None:
    with connection.transaction():
        for name, frame, text in zip(("recommendations", "similar_tracks"), (lists, similar), copies, strict=True):
            table = ("staging", f"raw_{name}")
            connection.execute(compose_query(f"recommendations/partitions.create_{name}", table=table))
            with connection.cursor() as cursor, cursor.copy(copy_into(table, tuple(frame.columns))) as copy:
                copy.write(text)


def _ranked(of: str, names: str, count: int, length: int, tracks: int) -> pl.DataFrame:
    """`length` ranks for each of `count` ids, whatever they name."""
    ids = np.repeat(np.arange(count), length)
    ranks = np.tile(np.arange(1, length + 1, dtype=np.int32), count)
    return pl.DataFrame(
        {
            "publication_id": np.full(len(ids), 1),
            of: ids,
            "rank": ranks,
            names: (ids * 7_919 + ranks.astype(np.int64) * 104_729) % tracks,
            "score": 1.0 / (ranks + ids % 97),
        }
    )


def _now() -> datetime:
    return datetime.now(UTC)
