"""Generate users, tracks, publications and plays for measurements that need no mock API."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from benchmarks.context import NO_SOURCE
from core.clock import utc_now
from core.database import Connection
from core.endpoints import LISTEN_HISTORY
from core.frames import write_frame
from core.settings import Settings
from core.stores import model_store
from pipeline import staging, warehouse
from pipeline.batches import Batch, Counts
from pipeline.endpoint_tables import STAGING, create_removed_table, create_rows_table
from pipeline.staging import StagedTables
from recommender.data.interactions import Interactions
from recommender.models import file_format
from recommender.models.recipe import Recipe
from recommender.models.registry import CANDIDATES
from recommender.publishing import model_runs, publication
from recommender.publishing.model_runs import TrainingOutcome
from recommender.publishing.publication import PublicationOptions

LENGTH = 50
"""Recommendations per user."""
PAIRS_PER_USER = 33
"""Pairs of a user and a track in sample plays, before the training share is drawn."""

_SQL = Path(__file__).parent / "sql"


def read_sql(name: str) -> str:
    """Read the text of `benchmarks/sql/<name>.sql`."""
    return (_SQL / f"{name}.sql").read_text()


def insert_catalogue(connection: Connection, users: int, tracks: int) -> None:
    """Insert users with the ids 1 to `users`, and tracks with the ids 1 to `tracks`."""
    parameters: dict[str, Any] = {"users": users, "tracks": tracks}
    for table in parameters:
        connection.execute(read_sql(table), parameters)


def publish_sessions(
    connection: Connection, users: int, tracks: int, first: date, users_of_days: Sequence[int]
) -> None:
    """Publish sessions from the day `first` as an ingest does: with month partitions, and counted in the marts."""
    batch = Batch(LISTEN_HISTORY, first + timedelta(len(users_of_days)), NO_SOURCE)
    rows, profile, removed = staging.table_names(batch)
    connection.execute(create_rows_table(LISTEN_HISTORY, rows))
    connection.execute(create_removed_table(LISTEN_HISTORY, removed))
    query = read_sql("sessions").replace("{staged}", f'"{STAGING}"."{rows}"')
    sizes = {"users": users, "tracks": tracks, "length": LENGTH, "first": first}
    connection.execute(query, {**sizes, "users_of_days": list(users_of_days)})
    staged = StagedTables(rows, profile, removed, Counts())
    warehouse.publish_batch(connection, batch, staged, started_at=utc_now(), run_id=None, clock=utc_now)


def make_recommendations(users: int, tracks: int, length: int = LENGTH) -> pl.DataFrame:
    """Return `length` ranked tracks for each user, with the columns of `ml.recommendations`."""
    user_ids, ranks = np.repeat(np.arange(1, users + 1), length), np.tile(np.arange(1, length + 1), users)
    return pl.DataFrame(
        {
            "publication_id": np.full(len(user_ids), 1),
            "user_id": user_ids,
            "rank": ranks.astype(np.int32),
            "track_id": 1 + (user_ids * 7_919 + ranks * 104_729) % tracks,
            "score": 1.0 / (ranks + user_ids % 97),
        }
    )


def make_similar_tracks(tracks: int, length: int) -> pl.DataFrame:
    """Return `length` ranked similar tracks for each track, with the columns of `ml.similar_tracks`."""
    ranked = make_recommendations(tracks, tracks, length)
    return ranked.rename({"track_id": "similar_track_id", "user_id": "track_id"})


def insert_play_counts(connection: Connection, plays: Interactions) -> None:
    """Insert play counts of users and tracks into `mart.user_track_plays`, all of one day."""
    frame = pl.DataFrame(
        {
            "user_id": 1 + np.repeat(plays.user_ids, np.diff(plays.plays.indptr)),
            "track_id": 1 + plays.track_ids[plays.plays.indices],
            "plays": plays.plays.data.astype(np.int32),
        }
    ).with_columns(first_played_at=pl.datetime(2024, 5, 1), last_played_at=pl.datetime(2024, 5, 1))
    write_frame(connection, ("mart", "user_track_plays"), frame)


def start_model_run(connection: Connection, recipe: Recipe, data_as_of: datetime, batches: Sequence[Any]) -> int:
    """Record the start of a model run. Returns its id."""
    return model_runs.start_model_run(
        connection,
        recipe=recipe,
        seed=0,
        data_as_of=data_as_of,
        batches=batches,
        code_version="benchmark",
        now=utc_now(),
    )


def publish(
    connection: Connection,
    recommendations: pl.DataFrame,
    similar: pl.DataFrame | None = None,
    now: datetime | None = None,
) -> int:
    """Stage, attach and publish recommendations as the flows do, but without the audit. Returns the publication id."""
    now = now or utc_now()
    similar = make_similar_tracks(1, 0) if similar is None else similar
    model_run_id = start_model_run(connection, Recipe("none"), now, [])
    staged = publication.start_publication(
        connection, model_run_id=model_run_id, flow="benchmark", data_as_of=now, batches=[], now=now
    )
    options = PublicationOptions(LENGTH, exclude_seen=True, personal=True)
    publication.stage_recommendations(connection, staged, [recommendations], similar, options)
    publication.attach_partitions(connection, staged)
    genres = pl.DataFrame({"genre": ["", "Rock"]})
    popular_tracks = recommendations.head(LENGTH).select(
        "rank", pl.col("rank").cast(pl.Int64).alias("track_id"), "score"
    )
    replacing = publication.newest_live_id(connection)
    publication.publish_recommendations(
        connection, staged, genres.join(popular_tracks, how="cross"), replacing=replacing, now=now, why="measured"
    )
    return staged.publication_id


def record_model(
    connection: Connection, settings: Settings, publication_id: int, name: str, plays: Interactions
) -> None:
    """Train a model on the plays, and record it as that of a publication."""
    recipe, file = Recipe(name, dict(CANDIDATES[name].settings)), f"{name}.npz"
    with model_store(settings).new_file(file) as path:
        CANDIDATES[name].model_class(**recipe.settings).fit(plays).save(path)
        outcome = TrainingOutcome(recipe, "published", "measured", {}, file, file_format.digest(path))
    query = "select model_run_id from ml.publications where publication_id = %s"
    ((model_run_id,),) = connection.execute(query, [publication_id]).fetchall()
    model_runs.record_outcome(connection, model_run_id, outcome, utc_now())


_MIN_PLAYS = 10  # each user has at least these plays
# The activity of users follows a power law with this exponent, up to a maximum.
_ACTIVITY_EXPONENT, _MAX_ACTIVITY = 0.6, 60
# Each user prefers one of these clusters of tracks, and takes this share of plays from it.
_CLUSTERS, _CLUSTER_SHARE = 120, 0.8
_TRAINING_SHARE = 0.8


def make_plays(users: int, tracks: int, interactions: int, *, seed: int = 0) -> Interactions:
    """Generate training data: the plays of 80 % of `interactions` pairs of user and track, or of fewer with few tracks.

    The same arguments give the same plays.
    """
    rng = np.random.default_rng(seed)
    activity = np.minimum((1 - rng.random(users)) ** -_ACTIVITY_EXPONENT, _MAX_ACTIVITY)
    plays = 3 * interactions * activity / activity.sum() + _MIN_PLAYS  # several plays share a pair
    user = np.repeat(np.arange(users), plays.astype(np.int64))
    cluster_start = rng.integers(0, _CLUSTERS, users) * tracks // _CLUSTERS
    popular, offset = (np.int64(tracks * rng.random(len(user)) ** exponent) for exponent in (2, 5))
    track = np.where(rng.random(len(user)) < _CLUSTER_SHARE, (cluster_start[user] + offset) % tracks, popular)
    pairs, counts = np.unique(user * tracks + track, return_counts=True)
    chosen = rng.permutation(len(pairs))[: int(_TRAINING_SHARE * min(interactions, len(pairs)))]
    user, track = np.divmod(pairs[chosen], tracks)
    # Users play favourites more often than these draws give, so multiply the counts by a log-normal factor.
    counts = np.ceil(counts[chosen] * rng.lognormal(1.0, 1.5, len(chosen)))
    return Interactions.from_pairs(user, track, counts, catalogue=np.arange(tracks))
