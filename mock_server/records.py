"""Rows as the API returns them: one dict per row, with the fields and formats of the recorded pages."""

from __future__ import annotations

from typing import Any

import numpy as np

from mock_server.day_state import DayState
from mock_server.randomness import Integers, choose, scramble
from mock_server.sessions import NO_TRACK
from mock_server.word_lists import FIRST_NAMES, GENDERS, GENRES, LAST_NAMES, MAIL_DOMAINS, WORDS

Record = dict[str, Any]

FIELDS = {
    "tracks": ("id", "name", "artist", "songwriters", "duration", "genres", "album", "created_at", "updated_at"),
    "users": ("id", "first_name", "last_name", "email", "gender", "favorite_genres", "created_at", "updated_at"),
    "listen_history": ("user_id", "items", "created_at", "updated_at"),
}
"""The fields of each endpoint, in the order of the API."""

DURATIONS = [f"{minute:02}:{second:02}" for minute in range(60) for second in range(60)][1:]


def records(state: DayState, endpoint: str, start: int, stop: int) -> list[Record]:
    """The rows start..stop-1 of an endpoint. Times are naive datetimes."""
    if endpoint == "tracks":
        return _tracks(state, state.listed_tracks[start:stop])
    if endpoint == "users":
        return _users(state, state.listed_users[start:stop])
    return _sessions(state, start, stop)


def _tracks(state: DayState, rows: Integers) -> list[Record]:
    tracks, seed = state.tracks, state.plan.seed
    artist = tracks.artist[rows]
    lasting = scramble(rows, seed * 8 + 4)
    changing = scramble(rows * 1024 + tracks.version[rows], seed * 8 + 5)
    band = scramble(artist, seed * 8 + 6)
    columns = zip(
        tracks.id[rows].tolist(),
        _pick(WORDS, choose(lasting, 0, len(WORDS))),
        _full_names(choose(band, 0, len(FIRST_NAMES)), choose(band, 1, len(LAST_NAMES))),
        _full_names(choose(lasting, 1, len(FIRST_NAMES)), choose(lasting, 2, len(LAST_NAMES))),
        _pick(DURATIONS, choose(changing, 0, len(DURATIONS))),
        _pick(WORDS, choose(scramble(artist % state.pools.scenes, seed * 8 + 7), 0, len(WORDS))),
        _pick(WORDS, choose(changing, 1, len(WORDS))),
        _times(tracks.created[rows]),
        _times(tracks.updated[rows]),
        strict=True,
    )
    return [
        {
            "id": id_,
            "name": name,
            "artist": artist,
            "songwriters": songwriters,
            "duration": duration,
            "genres": genres,
            "album": album,
            "created_at": created,
            "updated_at": updated,
        }
        for id_, name, artist, songwriters, duration, genres, album, created, updated in columns
    ]


def _users(state: DayState, rows: Integers) -> list[Record]:
    users, seed = state.users, state.plan.seed
    lasting = scramble(rows, seed * 8 + 4)
    changing = scramble(rows * 1024 + users.version[rows], seed * 8 + 5)
    columns = zip(
        users.id[rows].tolist(),
        _pick(FIRST_NAMES, choose(lasting, 0, len(FIRST_NAMES))),
        _pick(LAST_NAMES, choose(changing, 0, len(LAST_NAMES))),
        _emails(users.mailbox[rows].astype(np.int64), seed),
        _pick(GENDERS, choose(lasting, 1, len(GENDERS))),
        _pick(GENRES, users.genre[rows].tolist()),
        _times(users.created[rows]),
        _times(users.updated[rows]),
        strict=True,
    )
    return [
        {
            "id": id_,
            "first_name": first_name,
            "last_name": last_name,
            "email": email,
            "gender": gender,
            "favorite_genres": genre,
            "created_at": created,
            "updated_at": updated,
        }
        for id_, first_name, last_name, email, gender, genre, created, updated in columns
    ]


def _sessions(state: DayState, start: int, stop: int) -> list[Record]:
    sessions = state.sessions
    plays = sessions.plays[start:stop]
    items = state.tracks.id[plays].tolist()
    if (plays == NO_TRACK).any():
        items = [state.tracks.id[row[row != NO_TRACK]].tolist() for row in plays]
    columns = zip(
        state.users.id[sessions.user[start:stop]].tolist(),
        items,
        _times(sessions.created[start:stop]),
        _times(sessions.updated[start:stop]),
        strict=True,
    )
    return [
        {"user_id": user, "items": tracks, "created_at": created, "updated_at": updated}
        for user, tracks, created, updated in columns
    ]


def _emails(mailboxes: Integers, seed: int) -> list[str]:
    """One address per mailbox, from the user's first version."""
    lasting = scramble(mailboxes, seed * 8 + 4)
    first_version = scramble(mailboxes * 1024, seed * 8 + 5)
    return [
        f"{first}.{last}{number}@{domain}".lower()
        for first, last, number, domain in zip(
            _pick(FIRST_NAMES, choose(lasting, 0, len(FIRST_NAMES))),
            _pick(LAST_NAMES, choose(first_version, 0, len(LAST_NAMES))),
            mailboxes.tolist(),
            _pick(MAIL_DOMAINS, choose(lasting, 2, len(MAIL_DOMAINS))),
            strict=True,
        )
    ]


def _full_names(first: list[int], last: list[int]) -> list[str]:
    return [f"{FIRST_NAMES[i]} {LAST_NAMES[j]}" for i, j in zip(first, last, strict=True)]


def _pick(words: tuple[str, ...] | list[str], indices: list[int]) -> list[str]:
    return [words[index] for index in indices]


def _times(microseconds: Integers) -> list[Any]:
    return microseconds.astype("datetime64[us]").tolist()  # type: ignore[no-any-return]
