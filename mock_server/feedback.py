"""Feedback of users on tracks: by their tastes of the day, with a small share of wrong answers."""

from __future__ import annotations

from typing import Annotated

import msgspec
import numpy as np
from numpy.typing import NDArray

from mock_server.day_state import DayState, midnight
from mock_server.randomness import Indices, rows_of, scramble

WRONG_ANSWER_SHARE = 0.05
"""Share of the answers that are the opposite of the truth, either way."""

Id = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]


class ShownTracks(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The tracks that one user was shown, by their public ids."""

    user_id: Id
    tracks: list[Id]


class UnknownId(LookupError):
    """No user, or no track, has ever had this id."""


def report_usefulness(state: DayState, shown: list[ShownTracks]) -> list[dict[str, int | list[bool]]]:
    """For each of those who were shown tracks, in their order, whether each track is useful. Raises UnknownId."""
    lengths = np.array([len(one.tracks) for one in shown], np.int64)
    users = _rows(state, "user", [one.user_id for one in shown])
    tracks = _rows(state, "track", [track for one in shown for track in one.tracks])
    useful = reported_useful(state, np.repeat(users, lengths), tracks).tolist()
    ends = np.cumsum(lengths).tolist()
    return [
        {"user_id": one.user_id, "useful": useful[end - len(one.tracks) : end]}
        for one, end in zip(shown, ends, strict=True)
    ]


def reported_useful(state: DayState, users: Indices, tracks: Indices) -> NDArray[np.bool_]:
    """Whether each user (a row) calls the track (a row) beside it useful; the same answer all day."""
    return truly_useful(state, users, tracks) ^ _wrong_answers(state, users, tracks)


def truly_useful(state: DayState, users: Indices, tracks: Indices) -> NDArray[np.bool_]:
    """Whether the scene or the artist of each track is among the favourites of the user beside it."""
    tastes = state.users.tastes[users]
    scene, artist = state.pools.scene_pool(tracks), state.pools.artist_pool(tracks)
    useful: NDArray[np.bool_] = ((tastes == scene[:, None]) | (tastes == artist[:, None])).any(axis=1)
    return useful


def _wrong_answers(state: DayState, users: Indices, tracks: Indices) -> NDArray[np.bool_]:
    """Which answers are the opposite of the truth: drawn from seed, user, track and day, and nothing else."""
    pairs = scramble(users.astype(np.int64) << 32 | tracks, state.plan.seed * 8)
    return scramble(pairs, state.day.toordinal()) < np.uint64(WRONG_ANSWER_SHARE * 2**64)


def _rows(state: DayState, kind: str, ids: list[int]) -> Indices:
    """The rows of users or tracks that there are or were on the world's day. Raises UnknownId for the first other."""
    table, number = (state.tracks, 1) if kind == "track" else (state.users, 2)
    wanted = np.array(ids, np.int64)
    rows = rows_of(wanted, state.plan.seed, number)
    known = rows < len(table)
    known[known] = table.created[rows[known]] < midnight(state.day)
    if not known.all():
        raise UnknownId(f"no {kind} has the id {wanted[~known][0]}")
    return rows
