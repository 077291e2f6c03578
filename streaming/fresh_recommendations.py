"""Fresh recommendations of a user, from the live model and all sessions up to now, streamed ones included.

The model of the live publication folds the user's plays in: published ones, and streamed ones that no batch has
confirmed. So fresh recommendations are those that a full `recommend` run would publish for the same
plays, if RECOMMENDATION_DIVERSITY is 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import numpy as np
import polars as pl

from core.database import Connection, readable_errors
from core.frames import read_frame
from core.queries import load_query
from erasure.suppression_list import SUPPRESSION_LOCK, read_database
from recommender.data import mart_reader
from recommender.data.interactions import Ids, Interactions
from recommender.data.mart_reader import HiddenTracks
from recommender.data.play_log import NegativeFeedback, PlayLog
from recommender.publishing.recommendation_lists import recommend_to_all_users
from streaming.live_model import LiveModel
from streaming.recommendation_history import StreamedChange, add_to_history

# Small blocks, so that all cores score a few users: a list must not wait.
_USERS_PER_BLOCK = 100
PLAYS = {"user_id": pl.Int64(), "track_id": pl.Int64(), "plays": pl.Int64(), "played_at": pl.Int64()}


@dataclass(frozen=True)
class FreshList:
    """The recommendations of one user, best first, or the reason why they failed a check."""

    user_id: int
    track_ids: list[int]
    scores: list[float]
    failure: str | None


def recommend_to_users(
    connection: Connection, live: LiveModel, user_ids: Sequence[int], *, now: datetime, list_length: int
) -> list[FreshList]:
    """Recommend to users from all their plays. Users who are unknown or removed are left out. Raises DatabaseError."""
    users = np.unique(np.asarray(user_ids, np.int64))
    users = users[np.isin(users, live.user_ids)]
    if not len(users):
        return []
    histories = _histories(connection, live, users, now)
    lists = pl.concat(
        recommend_to_all_users(
            live.model,
            live.popularity,
            histories.played,
            list_length,
            exclude_seen=live.excludes_seen,
            weighted=histories.weighted,
            hidden=histories.hidden.matrix(histories.played),
            reranker=None
            if live.reranker is None
            else replace(live.reranker, exposures=live.reranker.exposures.copy()),
            users_per_block=_USERS_PER_BLOCK,
        ),
        how="vertical",
    )
    return _checked(lists, users, histories.excluded_tracks(live), live, list_length)


@dataclass(frozen=True, eq=False)
class UserHistories:
    """The plays of some users as the model weights them and as they are, and the tracks that they have hidden.

    `played_tracks` has the tracks that each has played: one may have no weight, and is still not recommended.
    """

    weighted: Interactions
    played: Interactions
    played_tracks: Mapping[int, set[int]]
    hidden: HiddenTracks

    def excluded_tracks(self, live: LiveModel) -> dict[int, set[int]]:
        """The tracks of the catalogue that are not recommended to each user."""
        excluded = {user: set(tracks) for user, tracks in self.played_tracks.items()} if live.excludes_seen else {}
        for user, track in zip(self.hidden.user_ids.tolist(), self.hidden.track_ids.tolist(), strict=True):
            if track in live.tracks:
                excluded.setdefault(user, set()).add(track)
        return excluded


def _histories(connection: Connection, live: LiveModel, users: Ids, now: datetime) -> UserHistories:
    values = {"user_ids": users.tolist()}
    with readable_errors(), connection.transaction():
        connection.execute("set transaction isolation level repeatable read, read only")
        plays = read_frame(connection, "stream/sessions.copy_plays_of_users", PLAYS, values)
        newest = connection.execute(load_query("stream/sessions.find_newest_time"), {"now": now}).fetchone()
        weighting = live.champion.recipe.weighting
        feedback = NegativeFeedback()
        if weighting.without_not_useful:
            feedback = mart_reader.read_negative_feedback(connection, now, user_ids=values["user_ids"])
        hidden = mart_reader.read_hidden_tracks(connection, user_ids=values["user_ids"])
    end = live.end
    if newest is not None and newest[0] is not None:
        moment = np.datetime64(int(newest[0].timestamp()), "s") + np.timedelta64(1, "s")
        end = max(end, moment)
    plays = plays.filter(pl.col("track_id").is_in(pl.Series(live.catalogue).implode()))
    places = np.searchsorted(live.user_ids, users)
    log = PlayLog(
        plays["user_id"].to_numpy(),
        plays["track_id"].to_numpy(),
        plays["plays"].to_numpy(),
        np.minimum(plays["played_at"].to_numpy().astype("datetime64[s]"), end - np.timedelta64(1, "s")),
        known_users=users,
        catalogue=live.catalogue,
        genres=live.genres[places],
        not_useful=feedback,
    )
    played_tracks = {row[0]: set(row[1]) for row in plays.group_by("user_id").agg("track_id").iter_rows()}
    return UserHistories(log.interactions(end, weighting), log.interactions(end), played_tracks, hidden)


def _checked(
    lists: pl.DataFrame, users: Ids, excluded_tracks: Mapping[int, set[int]], live: LiveModel, list_length: int
) -> list[FreshList]:
    """Each list with the first check that it fails, if any: the per-list rules of the audit of recommendations.

    The list of a user who has played or hidden everything is empty.
    """
    by_user = {
        user_id: content for user_id, *content in lists.group_by("user_id").agg("rank", "track_id", "score").iter_rows()
    }
    checked = []
    for user_id in users.tolist():
        ranks, track_ids, scores = by_user.get(user_id, ([], [], []))
        failure = _failure(ranks, track_ids, scores, excluded_tracks.get(user_id, set()), live.tracks, list_length)
        checked.append(FreshList(user_id, track_ids, scores, failure))
    return checked


def _failure(
    ranks: list[int],
    track_ids: list[int],
    scores: list[float],
    excluded: set[int],
    catalogue: frozenset[int],
    list_length: int,
) -> str | None:
    expected = min(list_length, len(catalogue) - len(excluded))
    if len(track_ids) != expected:
        return f"{len(track_ids)} tracks instead of {expected}"
    if ranks != list(range(1, len(ranks) + 1)):
        return "ranks are not 1, 2, 3 and so on"
    if len(set(track_ids)) != len(track_ids):
        return "a track comes twice"
    if not np.isfinite(scores).all():
        return "a score is not a finite number"
    if (np.diff(scores) > 0).any():
        return "a score is higher than the one before"
    if excluded.intersection(track_ids):
        return "a track was played or hidden already"
    if not catalogue.issuperset(track_ids):
        return "a track is unknown or removed"
    return None


def save_lists(
    connection: Connection,
    live: LiveModel,
    lists: Sequence[FreshList],
    changes: Mapping[int, StreamedChange],
    as_of: datetime,
) -> tuple[int, int]:
    """Save the lists that passed their checks, and record the failures of others. Returns the number of each.

    The same transaction adds the lists of users in the sample to the history that the monitor reads. Nothing is saved
    for users who were erased since their plays were read. Raises DatabaseError.
    """
    if not lists:
        return 0, 0
    with readable_errors(), connection.transaction(), connection.cursor() as cursor:
        cursor.execute(load_query("stream/sessions.lock_suppression_list"), {"lock": SUPPRESSION_LOCK})
        erased = read_database(connection).matching_ids(fresh.user_id for fresh in lists)
        rows: list[tuple[FreshList, dict[str, Any]]] = [
            (
                fresh,
                {
                    "publication_id": live.champion.publication_id,
                    "user_id": fresh.user_id,
                    "change_id": changes[fresh.user_id].change_id,
                },
            )
            for fresh in lists
            if fresh.user_id not in erased
        ]
        saved = [
            row | {"track_ids": fresh.track_ids, "scores": fresh.scores, "as_of": as_of}
            for fresh, row in rows
            if fresh.failure is None
        ]
        failed = [row | {"reason": fresh.failure, "now": as_of} for fresh, row in rows if fresh.failure is not None]
        if saved:
            cursor.executemany(load_query("stream/fresh_recommendations.save_fresh"), saved)
            saved_changes = {row["user_id"]: changes[row["user_id"]] for row in saved}
            add_to_history(connection, live.champion.publication_id, saved_changes, as_of)
        if failed:
            cursor.executemany(load_query("stream/fresh_recommendations.record_failure"), failed)
    return len(saved), len(failed)
