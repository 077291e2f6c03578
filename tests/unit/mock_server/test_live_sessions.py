"""Sessions that users start while the mock runs: the snapshots of later days contain them."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any

import pytest

from mock_server.control import RequestRouter
from mock_server.day_state import SimulationPlan
from mock_server.http_messages import Request
from mock_server.live_sessions import LiveSessions
from mock_server.timeline import Timeline

TODAY = dt.date(2026, 11, 22)
NOW = dt.datetime(2030, 1, 1, 9, 30)  # only the time of day counts: the simulated day is another day
PLAN = SimulationPlan(7, dt.date(2025, 5, 23), TODAY, users=200, tracks=200, sessions=400)


def router(file: Path | None = None) -> RequestRouter:
    return RequestRouter(Timeline(PLAN), TODAY, [], None, LiveSessions(file))


def ask(router: RequestRouter, method: str, path: str, content: Any = None) -> tuple[int, Any]:
    path, _, query = path.partition("?")
    response = router.handle(Request(method, path, query, {}, json.dumps(content).encode(), True))
    return response.status, json.loads(response.body)


def listed(router: RequestRouter) -> list[dict[str, Any]]:
    """All rows of /listen_history."""
    rows: list[dict[str, Any]] = []
    for page in range(1, 100):
        _, content = ask(router, "GET", f"/listen_history?page={page}&size=100")
        rows += content["items"]
        if page >= content["pages"]:
            return rows
    raise AssertionError("too many pages")


def test_snapshot_of_the_next_day_has_the_sessions_and_that_of_today_has_not() -> None:
    mock = router()
    status, played = ask(mock, "POST", "/_control/plays", {"type": "drawn", "count": 20})
    assert status == 200
    assert len(played) == 20
    assert all(row not in listed(mock) for row in played)

    ask(mock, "POST", "/_control/day", {"day": "2026-11-23"})

    rows = {(row["user_id"], row["created_at"]): row["items"] for row in listed(mock)}
    unlisted = [row for row in played if (row["user_id"], row["created_at"]) not in rows]
    assert len(unlisted) <= 2  # a user or a track was removed meanwhile
    for row in played:
        assert rows.get((row["user_id"], row["created_at"]), row["items"]) == row["items"]


def test_chosen_session_has_the_user_the_tracks_and_the_simulated_day() -> None:
    state = Timeline(PLAN).state_on(TODAY)
    user, track = int(state.users.id[0]), int(state.tracks.id[0])
    (session,) = LiveSessions().play(state, user, [track, track], NOW)
    assert (session.user_id, session.items) == (user, [track, track])
    assert session.created_at == dt.datetime(2026, 11, 22, 9, 30)


@pytest.mark.parametrize(("user_id", "items"), [(-1, []), (None, [-5])])
def test_unknown_user_or_track_is_refused(user_id: int | None, items: list[int]) -> None:
    mock = router()
    known_user_id = ask(mock, "GET", "/users?page=1")[1]["items"][0]["id"]
    content = {"type": "chosen", "user_id": known_user_id if user_id is None else user_id, "items": items}
    status, answer = ask(mock, "POST", "/_control/plays", content)
    assert status == 404
    assert "no listed" in answer["detail"]
    assert ask(mock, "POST", "/_control/plays", {"count": 0})[0] == 422


def test_sessions_survive_a_restart_also_after_half_a_line_was_written(tmp_path: Path) -> None:
    file = tmp_path / "plays.jsonl"
    _, played = ask(router(file), "POST", "/_control/plays", {"type": "drawn", "count": 3})
    with file.open("ab") as content:
        content.write(b'{"user_id": 1, "ite')
    _, response = ask(router(file), "POST", "/_control/plays", {"type": "drawn", "count": 1})

    mock = router(file)
    ask(mock, "POST", "/_control/day", {"day": "2026-11-23"})
    keys = {(row["user_id"], row["created_at"]) for row in listed(mock)}
    assert len(file.read_bytes().splitlines()) == 4
    assert {(row["user_id"], row["created_at"]) for row in (*played, *response)} <= keys
