"""Popular and new tracks, and histories."""

from __future__ import annotations

import random
import string
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from core.database import connect
from recommender.publishing import publication
from recommender.publishing.publication import Publication
from recommender.publishing.retention import prune_publications
from tests.integration.serving.api import NOW, REMOVED_TRACK, REMOVED_USER, Api, go_live, serving, stage
from tests.integration.serving.test_responses import assert_problem

DAY = timedelta(days=1)


@pytest.fixture
def api(populated: str, tmp_path: Path) -> Iterator[Api]:
    """Users 1 to 3 play track 1 today, user 1 plays 2 a week ago, users 1 and 2 play 3 two months ago."""
    plays = [(user, 1, NOW) for user in (1, 2, 3)] + [(1, 2, NOW - 8 * DAY), (1, REMOVED_TRACK, NOW)]
    plays += [(user, 3, NOW - 60 * DAY) for user in (1, 2)]
    with connect(populated) as connection:
        for table in ("listen_history", "listen_history_tracks"):
            connection.execute(f"create table warehouse.{table}_test partition of warehouse.{table} default")
        connection.execute("update warehouse.tracks set genres = 'Jazz' where id > 1")
        connection.execute("update warehouse.tracks set created_at = %s where id > 3", [NOW - 20 * DAY])
        connection.execute("update warehouse.tracks set created_at = %s where id = 100", [NOW + DAY])
        with connection.cursor() as cursor:
            cursor.executemany(
                "insert into mart.user_track_plays values (%s, %s, 1, %s, %s)", [(*p, p[2]) for p in plays]
            )
            sessions = sorted({(number, user, at) for number, (user, _, at) in enumerate(plays)})
            cursor.executemany(
                "insert into warehouse.listen_history values (%s, %s, %s, %s, null, 0, 'b') on conflict do nothing",
                [(number, user, at, at) for number, user, at in sessions],
            )
            cursor.executemany(
                "insert into warehouse.listen_history_tracks (listen_history_id, position, track_id, created_at)"
                " values (%s, 1, %s, %s)",
                [(number, track, at) for number, (_, track, at) in enumerate(plays)],
            )
        number = stage(connection, {1: [5]})
        publication.save_popular_tracks(connection, Publication(number), NOW)
        go_live(connection, number)
    clock = tmp_path / "clock"
    clock.write_text(NOW.isoformat())
    with serving(populated, clock_file=clock) as running:
        yield running


def popular(api: Api, **parameters: object) -> list[tuple[int, int, int]]:
    response = api.get("/v1/popular", params=parameters)
    assert response.status_code == 200, response.text
    return [(track["rank"], track["track_id"], track["users"]) for track in response.json()["tracks"]]


def new(api: Api, **parameters: object) -> list[int]:
    response = api.get("/v1/new", params=parameters)
    assert response.status_code == 200, response.text
    return [track["track_id"] for track in response.json()["tracks"]]


def test_popular_tracks_by_period_and_genre(api: Api) -> None:
    assert popular(api, period="all") == [(1, 1, 3), (2, 3, 2), (3, 2, 1)]
    assert popular(api) == popular(api, period="month") == [(1, 1, 3), (2, 2, 1)]
    assert popular(api, period="week") == popular(api, period="day") == [(1, 1, 3)]
    assert popular(api, period="all", genre="jAZZ", limit=1) == [(1, 3, 2)]
    assert popular(api, genre="Polka") == []
    with connect(api.database) as connection:
        connection.execute("update warehouse.tracks set removed_at = %s where id = 1", [NOW])
        assert popular(api, period="all") == [(1, 3, 2), (2, 2, 1)]
        go_live(connection, stage(connection, {1: [5]}))
        prune_publications(connection, keep=1, now=NOW)
        assert connection.execute("select from ml.popular_tracks").fetchall() == []
    assert_problem(api.get("/v1/popular?period=year"), 422, "invalid-request")


def test_new_tracks_by_period_and_genre(api: Api) -> None:
    assert new(api, period="week") == [3, 2, 1]
    assert new(api, period="week", genre="JAZZ", limit=1) == [3]
    assert new(api, limit=5) == [3, 2, 1, 99, 98]
    assert new(api, genre="Polka") == []


def test_genre_of_5_kb_is_stored_and_has_no_popular_tracks_of_its_own(api: Api) -> None:
    genre = "".join(random.Random(5).choices(string.ascii_letters, k=5_000))
    with connect(api.database) as connection:
        connection.execute("update warehouse.tracks set genres = %s where id = 3", [genre])
        number = stage(connection, {1: [5]})
        publication.save_popular_tracks(connection, Publication(number), NOW)
        go_live(connection, number)
    assert popular(api, period="all") == [(1, 1, 3), (2, 3, 2), (3, 2, 1)]
    assert new(api, period="week") == [3, 2, 1]
    assert new(api, period="week", genre=genre[:150]) == []


def test_history_is_paged_and_needs_its_scope(api: Api) -> None:
    first = api.get("/v1/users/1/history?limit=2").json()
    assert [play["track_id"] for play in first["plays"]] == [1, 2]
    older = api.get("/v1/users/1/history", params={"limit": 2, "cursor": first["next_cursor"]}).json()
    assert ([play["track_id"] for play in older["plays"]], older["next_cursor"]) == ([3], None)
    assert api.get("/v1/users/4/history").json() == {"user_id": 4, "plays": [], "next_cursor": None}
    for user in (REMOVED_USER, 404):
        assert_problem(api.get(f"/v1/users/{user}/history"), 404, "unknown-listener")
    assert_problem(api.get("/v1/users/1/history?cursor=9"), 422, "invalid-request")
    headers = {"Authorization": f"Bearer {api.new_key('recommendations:read', 'feedback:write').text}"}
    assert_problem(api.get("/v1/users/1/history", headers=headers), 403, "missing-scope")
