"""Simulated feedback: a user calls a track useful by their current tastes, with a small share of wrong answers."""

from __future__ import annotations

from typing import Annotated

import msgspec
import numpy as np
from numpy.typing import NDArray

from mock_server.day_state import DayState, midnight
from mock_server.randomness import Indices, rows_of, scramble

WRONG_ANSWER_SHARE = 0.05
"""Share of the answers that are inverted."""

Id = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]


class ShownTracks(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The public ids of the tracks that were shown to a user."""

    user_id: Id
    tracks: list[Id]


class UnknownId(LookupError):
    """No user or track has ever had this id."""


def report_usefulness(state: DayState, shown: list[ShownTracks]) -> list[dict[str, int | list[bool]]]:
    """Return, for each user in order, whether they call each shown track useful. Raises UnknownId."""
    lengths = np.array([len(entry.tracks) for entry in shown], np.int64)
    users = _rows(state, "user", [entry.user_id for entry in shown])
    tracks = _rows(state, "track", [track for entry in shown for track in entry.tracks])
    useful = reported_useful(state, np.repeat(users, lengths), tracks).tolist()
    ends = np.cumsum(lengths).tolist()
    return [
        {"user_id": entry.user_id, "useful": useful[end - len(entry.tracks) : end]}
        for entry, end in zip(shown, ends, strict=True)
    ]


def reported_useful(state: DayState, users: Indices, tracks: Indices) -> NDArray[np.bool_]:
    """Whether each user calls the track at the same position useful; the answer is the same all day."""
    return truly_useful(state, users, tracks) ^ _wrong_answers(state, users, tracks)


def truly_useful(state: DayState, users: Indices, tracks: Indices) -> NDArray[np.bool_]:
    """Whether each track's scene or artist is a favourite of the user at the same position."""
    tastes = state.users.tastes[users]
    scene, artist = state.pools.scene_pool(tracks), state.pools.artist_pool(tracks)
    useful: NDArray[np.bool_] = ((tastes == scene[:, None]) | (tastes == artist[:, None])).any(axis=1)
    return useful


def _wrong_answers(state: DayState, users: Indices, tracks: Indices) -> NDArray[np.bool_]:
    """Mark the answers to invert. The draw depends only on seed, user, track and day."""
    pairs = scramble(users.astype(np.int64) << 32 | tracks, state.plan.seed * 8)
    return scramble(pairs, state.day.toordinal()) < np.uint64(WRONG_ANSWER_SHARE * 2**64)


def _rows(state: DayState, kind: str, ids: list[int]) -> Indices:
    """The rows of these ids. Raises UnknownId for the first id that did not exist by this day."""
    table, number = (state.tracks, 1) if kind == "track" else (state.users, 2)
    public_ids = np.array(ids, np.int64)
    rows = rows_of(public_ids, state.plan.seed, number)
    exists = rows < len(table)
    exists[exists] = table.created[rows[exists]] < midnight(state.day)
    if not exists.all():
        raise UnknownId(f"no {kind} has the id {public_ids[~exists][0]}")
    return rows
