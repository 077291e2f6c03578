"""Read users, tracks and plays from the marts. Users and tracks that the source has deleted are excluded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.sparse import csr_array

from core.database import Connection, readable_errors
from core.frames import read_frame, read_numbers
from core.queries import load_query
from recommender.data.interactions import ARTIST, GENRE, Ids, Interactions, positions_in
from recommender.data.item_attributes import attribute_codes
from recommender.data.play_log import NegativeFeedback, PlayLog

# The source has 17 genres. Popularity is fitted for each genre, so free text at the source must not create too many.
_MAX_GENRES = 200
_IDS = {"user_id": pl.Int64(), "track_id": pl.Int64()}
_PLAYS = _IDS | {"plays": pl.Int32(), "played_at": pl.Int64()}
_NO_TIME = int(np.iinfo(np.int64).min)


def read_plays(connection: Connection, now: datetime) -> PlayLog:
    """Read all plays, summed by user and track, with the time of the last play. Raises DatabaseError.

    The read is one database snapshot. A play after `now` comes from a device with a wrong clock: it counts, with the
    time of the newest play before `now`.
    """
    with readable_errors(), connection.transaction():
        _one_snapshot(connection)
        users, catalogue = _read_users(connection), _catalogue(connection)
        feedback = read_negative_feedback(connection, now)
        plays = _read_plays(connection, "copy_plays", users, catalogue)
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
        bounds = {"begin": begin, "before": as_of}
        plays = _read_plays(connection, "copy_play_log", users, catalogue, bounds)
        feedback = read_negative_feedback(connection, as_of)
    return _play_log(plays, users, catalogue, feedback)


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


class _Plays(NamedTuple):
    """One row per user, track and time, by user and track. Ids have 32 bits if all ids fit, times are in seconds."""

    users: Ids
    tracks: Ids
    plays: NDArray[np.int32]
    played_at: NDArray[np.int64]


def _read_plays(
    connection: Connection,
    query: str,
    users: pl.DataFrame,
    catalogue: pl.DataFrame,
    parameters: Mapping[str, Any] | None = None,
) -> _Plays:
    """Read the plays of these users and tracks in parts."""
    user_ids, track_ids = np.sort(_column(users, "user_id")), np.sort(_column(catalogue, "track_id"))
    types: tuple[np.dtype[Any], ...] = (
        _smallest_type(user_ids),
        _smallest_type(track_ids),
        np.dtype(np.int32),
        np.dtype(np.int64),
    )
    columns: tuple[list[NDArray[Any]], ...] = tuple([np.empty(0, dtype)] for dtype in types)
    for rows in read_numbers(connection, load_query(f"recommendations/training_data.{query}"), _PLAYS, parameters):
        current = positions_in(user_ids, rows["user_id"]) >= 0
        current &= positions_in(track_ids, rows["track_id"]) >= 0
        for column, name, dtype in zip(columns, _PLAYS, types, strict=True):
            column.append(rows[name][current].astype(dtype))
    # One column at a time, so that only one column is in memory twice.
    return _Plays(*(_joined(column) for column in columns))


def _joined(parts: list[NDArray[Any]]) -> NDArray[Any]:
    whole = np.concatenate(parts)
    parts.clear()
    return whole


def _smallest_type(ids: Ids) -> np.dtype[Any]:
    limits = np.iinfo(np.int32)
    fits_32_bits = not len(ids) or (ids[0] >= limits.min and ids[-1] <= limits.max)
    return np.dtype(np.int32 if fits_32_bits else np.int64)


def _play_log(plays: _Plays, users: pl.DataFrame, catalogue: pl.DataFrame, feedback: NegativeFeedback) -> PlayLog:
    return PlayLog(
        plays.users,
        plays.tracks,
        plays.plays,
        plays.played_at.view("datetime64[s]"),
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


class HiddenTracks(NamedTuple):
    """One row per user and track that the user has hidden."""

    user_ids: Ids
    track_ids: Ids

    def matrix(self, interactions: Interactions) -> csr_array | None:
        """A matrix in the shape of the interactions, 1 where a user has hidden a track; None if there are none."""
        rows, columns = (
            positions_in(interactions.user_ids, self.user_ids),
            positions_in(interactions.track_ids, self.track_ids),
        )
        is_current = (rows >= 0) & (columns >= 0)
        if not is_current.any():
            return None
        rows, columns = rows[is_current].astype(np.int32), columns[is_current].astype(np.int32)
        return csr_array((np.ones(len(rows), np.float32), (rows, columns)), shape=interactions.plays.shape)


def read_hidden_tracks(connection: Connection, *, user_ids: Sequence[int] | None = None) -> HiddenTracks:
    """The tracks that all users have hidden, or some of them. Raises DatabaseError."""
    values = {"user_ids": None if user_ids is None else list(user_ids)}
    with readable_errors():
        hidden = read_frame(connection, "recommendations/training_data.copy_hidden_tracks", _IDS, values)
    return HiddenTracks(_column(hidden, "user_id"), _column(hidden, "track_id"))


def _catalogue(connection: Connection) -> pl.DataFrame:
    schema = {"track_id": pl.Int64(), "artist": pl.String(), "genres": pl.String()}
    return read_frame(connection, "recommendations/training_data.copy_tracks", schema)


def _not_after(plays: _Plays, now: datetime) -> _Plays:
    """Move plays after `now` to the time of the newest play before it."""
    latest = int(now.timestamp())
    newest = int(plays.played_at.max(where=plays.played_at <= latest, initial=_NO_TIME))
    np.minimum(plays.played_at, latest if newest == _NO_TIME else newest, out=plays.played_at)
    return plays


def _column(frame: pl.DataFrame, name: str) -> NDArray[Any]:
    return frame[name].to_numpy()


def _times(frame: pl.DataFrame, name: str) -> NDArray[Any]:
    return _column(frame, name).astype("datetime64[s]")
