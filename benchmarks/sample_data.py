"""Generated users, tracks, publications and plays, for measurements that need no mock API."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from core.database import Connection
from recommender.data.interactions import Interactions
from recommender.models.recipe import Recipe
from recommender.publishing import model_runs, publication
from recommender.publishing.publication import PublicationOptions

LENGTH = 50
"""Recommendations per user."""

_SQL = Path(__file__).parent / "sql"


def read_sql(name: str) -> str:
    """The text of a query of the benchmarks."""
    return (_SQL / f"{name}.sql").read_text()


def insert_catalogue(connection: Connection, users: int, tracks: int) -> None:
    """Insert users and tracks with the ids from 1."""
    parameters: dict[str, Any] = {"users": users, "tracks": tracks}
    for name in parameters:
        connection.execute(read_sql(name), parameters)


def recommend(users: int, tracks: int, length: int = LENGTH) -> pl.DataFrame:
    """Ranked tracks for each user, in the columns of `ml.recommendations`."""
    ids, ranks = np.repeat(np.arange(1, users + 1), length), np.tile(np.arange(1, length + 1), users)
    return pl.DataFrame(
        {
            "publication_id": np.full(len(ids), 1),
            "user_id": ids,
            "rank": ranks.astype(np.int32),
            "track_id": 1 + (ids * 7_919 + ranks * 104_729) % tracks,
            "score": 1.0 / (ranks + ids % 97),
        }
    )


def relate(tracks: int, length: int) -> pl.DataFrame:
    """Ranked similar tracks for each track, in the columns of `ml.similar_tracks`."""
    ranked = recommend(tracks, tracks, length)
    return ranked.rename({"track_id": "similar_track_id", "user_id": "track_id"})


def publish(connection: Connection, recommendations: pl.DataFrame, similar: pl.DataFrame, now: datetime) -> int:
    """Stage, attach and publish recommendations as flows do, without the audit. Returns the publication's id."""
    run = model_runs.start_model_run(
        connection, recipe=Recipe("none"), seed=0, data_as_of=now, batches=[], code_version="benchmark", now=now
    )
    staged = publication.start_publication(
        connection, model_run_id=run, flow="benchmark", data_as_of=now, batches=[], now=now
    )
    options = PublicationOptions(LENGTH, exclude_seen=True, personal=True)
    publication.stage_recommendations(connection, staged, [recommendations], similar, options)
    publication.attach_partitions(connection, staged)
    genres = pl.DataFrame({"genre": ["", "Rock"]})
    ranks = recommendations.head(LENGTH).select("rank", pl.col("rank").cast(pl.Int64).alias("track_id"), "score")
    replacing = publication.newest_live_id(connection)
    publication.publish_recommendations(
        connection, staged, genres.join(ranks, how="cross"), replacing=replacing, now=now, why="measured"
    )
    return staged.publication_id


_FEWEST, _MOST, _ACTIVITY = 10, 600, 0.6  # tracks of a user, and the exponent of their power law
_AT_HOME, _REGIONS = 0.8, 120
_TRAINING_SHARE = 0.8


def make_plays(users: int, tracks: int, interactions: int, *, seed: int = 0) -> Interactions:
    """Plays of four in five of so many pairs of user and track. The same arguments give the same plays."""
    rng = np.random.default_rng(seed)
    activity = np.minimum((1 - rng.random(users)) ** -_ACTIVITY, _MOST / _FEWEST)
    plays = 3 * interactions * activity / activity.sum() + _FEWEST  # many plays are of the same pair
    user = np.repeat(np.arange(users), plays.astype(np.int64))
    home = rng.integers(0, _REGIONS, users) * tracks // _REGIONS
    popular, local = (np.int64(tracks * rng.random(len(user)) ** exponent) for exponent in (2, 5))
    track = np.where(rng.random(len(user)) < _AT_HOME, (home[user] + local) % tracks, popular)
    pairs, counts = np.unique(user * tracks + track, return_counts=True)
    chosen = rng.permutation(len(pairs))[: int(_TRAINING_SHARE * min(interactions, len(pairs)))]
    user, track = np.divmod(pairs[chosen], tracks)
    # A user plays a favourite far more often than chance would: log-normal on top.
    counts = np.ceil(counts[chosen] * rng.lognormal(1.0, 1.5, len(chosen)))
    return Interactions.from_pairs(user, track, counts, catalogue=np.arange(tracks))
