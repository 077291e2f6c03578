"""Explore: find a user or a track, and see plays, recommendations with reasons, and similar tracks.

Users are shown by id only: the role of this process cannot read their names.
"""

from __future__ import annotations

from typing import Any

import orjson
from starlette.responses import RedirectResponse, Response

from serving.console.console_request import MAX_ID_DIGITS, ConsolePageMissing, ConsoleRequest, read_id
from serving.console.rendering import PREFIX, minute, number

_SHOWN = 20
_TITLE_LENGTH = 100
_PERIODS = {"day": "last 24 hours", "week": "last 7 days", "month": "last 30 days", "all": "all time"}


async def show_search(request: ConsoleRequest) -> Response:
    """The search. An id leads to its page."""
    user, track = request.parameter("user"), request.parameter("track")
    problem = ""
    if user:
        try:
            return _to(f"users/{read_id(user, 'user')}")
        except ConsolePageMissing as error:
            problem = str(error)
    if track.isascii() and track.isdigit() and len(track) <= MAX_ID_DIGITS:
        found = await request.read({"track": "explore.find_track"}, track_id=int(track))
        if found["track"]:
            return _to(f"tracks/{int(track)}")
    prefix = track.lower()[:_TITLE_LENGTH].replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    queries = {"tracks": "explore.find_tracks"} if track else {"examples": "explore.find_example_users"}
    data = await request.read(queries, prefix=prefix)
    return request.page(
        "explore.html",
        "explore",
        "Explore",
        user=user,
        track=track,
        problem=problem,
        tracks=data.get("tracks", ()),
        examples=data.get("examples", ()),
    )


async def show_user(request: ConsoleRequest) -> Response:
    """One user. Raises ConsolePageMissing."""
    user_id = request.path_id("user_id", "user")
    data = await request.read(
        {
            "user": "explore.find_user",
            "counts": "explore.count_plays_of_user",
            "plays": "explore.find_plays_of_user",
            "favourites": "explore.find_favourite_tracks_of_user",
            "lists": "explore.find_lists_of_user",
            "fresh": "explore.find_fresh_list_of_user",
            "sessions": "explore.find_streamed_sessions_of_user",
            "reactions": "explore.find_reactions_of_user",
        },
        user_id=user_id,
    )
    if not data["user"]:
        raise ConsolePageMissing("No user has this id.")
    user, counts = data["user"][0], data["counts"][0]
    source, recommendations = await _offered_now(request, user_id)
    facts = [
        ("Favourite genre", user["favorite_genres"] or "-"),
        ("User since", minute(user["created_at"])),
        ("Plays", f"{number(counts['plays'])} of {number(counts['tracks'])} tracks"),
        ("First play", minute(counts["first_played_at"])),
        ("Last play", minute(counts["last_played_at"])),
    ]
    if user["removed_at"]:
        facts.append(("Removed at the source", minute(user["removed_at"])))
    fresh = data["fresh"]
    return request.page(
        "user.html",
        "explore",
        f"User {user_id}",
        user=user,
        facts=facts,
        source=source,
        recommendations=recommendations,
        plays=data["plays"],
        favourites=data["favourites"],
        lists=data["lists"],
        fresh=fresh,
        moved=sum(item["published_rank"] != item["rank"] for item in fresh),
        sessions=data["sessions"],
        reactions=data["reactions"],
    )


async def show_track(request: ConsoleRequest) -> Response:
    """One track. Raises ConsolePageMissing."""
    data = await request.read(
        {
            "track": "explore.find_track",
            "similar": "explore.find_similar_tracks",
            "popularity": "explore.find_popularity_of_track",
        },
        track_id=request.path_id("track_id", "track"),
    )
    if not data["track"]:
        raise ConsolePageMissing("No track has this id.")
    track = data["track"][0]
    facts = [
        ("Id", track["track_id"]),
        ("Artist", track["artist"] or "-"),
        ("Album", track["album"] or "-"),
        ("Genres", track["genres"] or "-"),
        ("Duration", track["duration"] or "-"),
        ("In the catalogue since", minute(track["created_at"])),
    ]
    if track["removed_at"]:
        facts.append(("Removed at the source", minute(track["removed_at"])))
    return request.page(
        "track.html",
        "explore",
        track["title"] or f"Track {track['track_id']}",
        track=track,
        facts=facts,
        similar=data["similar"],
        popularity=data["popularity"],
        periods=_PERIODS,
    )


async def _offered_now(request: ConsoleRequest, user_id: int) -> tuple[str, list[dict[str, Any]]]:
    """What the API answers for the user now, with reasons, and a sentence about where it comes from."""
    parameters = {
        "ids": [user_id],
        "counts": [_SHOWN],
        "options": [orjson.dumps({"explain": True}).decode()],
        "fresh": request.settings.stream_fresh,
    }
    rows = await request.database.rows("serving/find_recommendations", parameters)
    live, known, response, *_ = rows[0]
    if not live:
        return "No recommendations are published yet.", []
    if not known:
        return "This user was removed at the source, and gets no recommendations.", []
    answer = orjson.loads(response)
    recommendations: list[dict[str, Any]] = answer["recommendations"]
    if answer["fallback"]:
        return "The user has no recommendations of their own, and gets popular tracks.", recommendations
    as_of = answer["as_of"][:16].replace("T", " ")
    return f"From publication {answer['publication_id']}, as of {as_of}.", recommendations


def _to(path: str) -> Response:
    return RedirectResponse(f"{PREFIX}/explore/{path}", 303)
