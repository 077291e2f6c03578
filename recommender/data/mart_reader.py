"""Read users, tracks and plays from the marts. Users and tracks that the source has deleted are excluded."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from core.database import Connection, readable_errors
from core.frames import read_frame
from core.queries import load_query
from recommender.data.interactions import ARTIST, GENRE
from recommender.data.item_attributes import attribute_codes
from recommender.data.play_log import NegativeFeedback, PlayLog

# The source has 17 genres. Popularity is fitted for each genre, so free text at the source must not create too many.
_MAX_GENRES = 200
_IDS = {"user_id": pl.Int64(), "track_id": pl.Int64()}


def read_plays(connection: Connection, now: datetime) -> PlayLog:
    """Read all plays, summed by user and track, with the time of the last play. Raises DatabaseError.

    The read is one database snapshot. A play after `now` comes from a device with a wrong clock: it counts, with the
    time of the newest play before `now`.
    """
    with readable_errors(), connection.transaction():
        _one_snapshot(connection)
        users, catalogue = _read_users(connection), _catalogue(connection)
        feedback = read_negative_feedback(connection, now)
        schema = _IDS | {"plays": pl.Int64(), "played_at": pl.Int64()}
        plays = _of_current(
            read_frame(connection, "recommendations/training_data.copy_plays", schema), users, catalogue
        )
    return _play_log(_not_after(plays, now), users, catalogue, feedback)


def read_play_log(connection: Connection, as_of: datetime, single_days: int) -> PlayLog:
    """Read all plays before `as_of`. Raises DatabaseError.

    Plays of the last `single_days` days stay single rows, so that a split may fall anywhere within these days. Older
    plays are summed by user and track.
    """
    begin = as_of - timedelta(days=single_days)
    with readable_errors(), connection.transaction():
        _one_snapshot(connection)
        users, catalogue = _read_users(connection), _catalogue(connection)
        summed = _IDS | {"plays": pl.Int64(), "played_at": pl.Int64()}
        single = _IDS | {"played_at": pl.Int64()}
        before, bounds = {"before": begin}, {"begin": begin, "before": as_of}
        old = read_frame(connection, "recommendations/training_data.copy_plays_before", summed, before)
        new = read_frame(connection, "recommendations/training_data.copy_plays_between", single, bounds)
        feedback = read_negative_feedback(connection, as_of)
    rows = pl.concat([old, new.with_columns(plays=pl.lit(1, pl.Int64)).select(old.columns)])
    return _play_log(_of_current(rows, users, catalogue), users, catalogue, feedback)


def newest_play_time(connection: Connection, as_of: datetime) -> datetime | None:
    """The time of the last play before `as_of`. Raises DatabaseError."""
    with readable_errors():
        row = connection.execute(
            load_query("recommendations/training_data.find_newest_play_time"), {"before": as_of}
        ).fetchone()
    return row[0] if row else None


def newest_batches(connection: Connection) -> list[str]:
    """The ids of the newest published batch of each endpoint. Raises DatabaseError."""
    with readable_errors():
        return [row[0] for row in connection.execute(load_query("recommendations/publications.find_newest_batches"))]


def in_utc(moment: np.datetime64) -> datetime:
    """Convert to a datetime in UTC, to the second."""
    return datetime.fromtimestamp(int(moment.astype("datetime64[s]").astype(np.int64)), UTC)


def _play_log(plays: pl.DataFrame, users: pl.DataFrame, catalogue: pl.DataFrame, feedback: NegativeFeedback) -> PlayLog:
    return PlayLog(
        _column(plays, "user_id"),
        _column(plays, "track_id"),
        _column(plays, "plays"),
        _times(plays, "played_at"),
        known_users=_column(users, "user_id"),
        catalogue=_column(catalogue, "track_id"),
        genres=users["favorite_genres"].to_numpy().astype(np.str_),
        not_useful=feedback,
        item_attributes={ARTIST: attribute_codes(catalogue["artist"]), GENRE: attribute_codes(catalogue["genres"])},
    )


def _one_snapshot(connection: Connection) -> None:
    connection.execute("set transaction isolation level repeatable read, read only")


def _read_users(connection: Connection) -> pl.DataFrame:
    schema = {"user_id": pl.Int64(), "favorite_genres": pl.String()}
    users = read_frame(connection, "recommendations/training_data.copy_users", schema).with_columns(
        pl.col("favorite_genres").fill_null("")
    )
    counted = users.group_by("favorite_genres").len().sort("len", "favorite_genres", descending=[True, False])
    common = counted["favorite_genres"].head(_MAX_GENRES)
    return users.with_columns(
        favorite_genres=pl.when(pl.col("favorite_genres").is_in(common.implode()))
        .then(pl.col("favorite_genres"))
        .otherwise(pl.lit(""))
    )


def read_negative_feedback(
    connection: Connection, before: datetime, *, user_ids: Sequence[int] | None = None
) -> NegativeFeedback:
    """The feedback of all users, or of some, whose last answer before a time is `not useful`. Raises psycopg.Error."""
    schema = _IDS | {"given_at": pl.Int64()}
    values = {"before": before, "user_ids": None if user_ids is None else list(user_ids)}
    feedback = read_frame(connection, "recommendations/training_data.copy_negative_feedback", schema, values)
    return NegativeFeedback(_column(feedback, "user_id"), _column(feedback, "track_id"), _times(feedback, "given_at"))


def _catalogue(connection: Connection) -> pl.DataFrame:
    schema = {"track_id": pl.Int64(), "artist": pl.String(), "genres": pl.String()}
    return read_frame(connection, "recommendations/training_data.copy_tracks", schema)


def _not_after(plays: pl.DataFrame, now: datetime) -> pl.DataFrame:
    """Move plays after `now` to the time of the newest play before it."""
    latest = int(now.timestamp())
    newest = plays.select(pl.col("played_at").filter(pl.col("played_at") <= latest).max()).item()
    return plays.with_columns(pl.col("played_at").clip(upper_bound=latest if newest is None else newest))


def _of_current(plays: pl.DataFrame, users: pl.DataFrame, catalogue: pl.DataFrame) -> pl.DataFrame:
    return plays.join(users, on="user_id", how="semi").join(catalogue, on="track_id", how="semi")


def _column(frame: pl.DataFrame, name: str) -> NDArray[Any]:
    return frame[name].to_numpy()


def _times(frame: pl.DataFrame, name: str) -> NDArray[Any]:
    return _column(frame, name).astype("datetime64[s]")
