"""Every name of the contract and of our tables that more than one file needs, once."""

from __future__ import annotations

from typing import Literal

Endpoint = Literal["tracks", "users", "listen_history"]
# What has a suite of expectations: what came in, and what goes out.
Audited = Literal["tracks", "users", "listen_history", "recommendations"]

TRACKS: Endpoint = "tracks"
USERS: Endpoint = "users"
LISTEN_HISTORY: Endpoint = "listen_history"
RECOMMENDATIONS: Audited = "recommendations"

# Dimensions publish before the fact that refers to them.
ENDPOINTS: tuple[Endpoint, ...] = (TRACKS, USERS, LISTEN_HISTORY)
DEPENDS_ON: dict[Endpoint, tuple[Endpoint, ...]] = {TRACKS: (), USERS: (), LISTEN_HISTORY: (TRACKS, USERS)}

# What identifies a row of the endpoint.
KEYS: dict[Endpoint, tuple[str, ...]] = {
    TRACKS: ("id",),
    USERS: ("id",),
    LISTEN_HISTORY: ("user_id", "created_at"),
}
KEYS_OF_AUDITED: dict[Audited, tuple[str, ...]] = {
    TRACKS: KEYS[TRACKS],
    USERS: KEYS[USERS],
    LISTEN_HISTORY: KEYS[LISTEN_HISTORY],
    RECOMMENDATIONS: ("user_id", "rank"),
}
