"""Filters, pages and cursors of recommendations, and the HTTP conventions of reads."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from datetime import timedelta

import httpx
import pytest

from core.database import connect
from tests.integration.serving.api import NOW, REMOVED_TRACK, ROCK_FAN, Api, drop, go_live, serving, stage
from tests.integration.serving.test_responses import assert_problem, tracks

_ANY_ID = "must be an integer from -9,223,372,036,854,775,808 to 9,223,372,036,854,775,807"
LISTED = [1, 2, 3, REMOVED_TRACK, 4, 5, 6, 7, 8]


@pytest.fixture
def api(populated: str) -> Iterator[Api]:
    """User 5 has the tracks of LISTED. Odd tracks are Jazz, those below 4 by Nina; user 5 has played 1."""
    with connect(populated) as connection:
        connection.execute("update warehouse.tracks set genres = case when id % 2 = 1 then 'Jazz' else 'Rock' end")
        connection.execute("update warehouse.tracks set artist = 'Nina' where id < 4")
        connection.execute("insert into mart.user_track_plays values (5, 1, 3, %s, %s)", [NOW, NOW])
        go_live(connection, stage(connection, {5: LISTED, 6: [9]}, fallbacks={"": [50], "Rock": [60]}))
    with serving(populated) as running:
        yield running


def ids(response: httpx.Response) -> list[int]:
    return [track for _, track in tracks(response)]


def read(api: Api, **parameters: object) -> httpx.Response:
    return api.get("/v1/users/5/recommendations", params=parameters)


def test_filters_choose_from_the_list_of_the_user(api: Api) -> None:
    assert tracks(read(api, genre="jAzz")) == [(1, 1), (2, 3), (3, 5), (4, 7)]
    assert ids(read(api, artist=" NINA ")) == [1, 2, 3]
    assert ids(read(api, genre="Jazz", artist="Nina", new_only=True)) == [3]
    assert ids(read(api, exclude="1,2,7")) == ids(read(api, exclude=[1, 2, 7])) == [3, 4, 5, 6, 8]
    assert ids(read(api, new_only=True, limit=2)) == [2, 3]
    filtered = read(api, genre="Polka")
    assert (ids(filtered), filtered.json()["fallback"], filtered.json()["next_cursor"]) == ([], False, None)
    # Filters apply to the fallback of a user without a list.
    assert ids(api.get("/v1/users/31/recommendations", params={"genre": "Rock"})) == [60]


def test_streamed_plays_are_not_new(api: Api) -> None:
    with connect(api.database) as connection:
        connection.execute(
            "insert into stream.sessions"
            ' (user_id, created_at, updated_at, items, received_at, topic, partition, "offset")'
            " values (5, %(now)s, %(now)s, '{2}', %(now)s, 't', 0, 1)",
            {"now": NOW.replace(tzinfo=None)},
        )
    assert ids(read(api, new_only=True, limit=2)) == [3, 4]


def test_10_000_excluded_tracks(api: Api) -> None:
    excluded = [*range(10**18, 10**18 + 9_998), 1, 2]
    # httpx refuses to send so long a URL.
    connection = http.client.HTTPConnection(api.url.removeprefix("http://"))
    too_many = {"field": "query.exclude", "message": "must have at most 10,000 items"}
    for ids_sent, status in ((excluded, 200), ([*excluded, 3], 422)):
        query = ",".join(map(str, ids_sent))
        connection.request("GET", f"/v1/users/5/recommendations?exclude={query}", headers=dict(api.client.headers))
        response = connection.getresponse()
        content = json.loads(response.read())
        assert response.status == status
        if status == 200:
            assert [track["track_id"] for track in content["recommendations"]] == [3, 4, 5, 6, 7, 8]
        else:
            assert content["errors"] == [too_many]
    connection.close()


def test_pages_have_every_track_once(api: Api) -> None:
    first = read(api, limit=3)
    assert (tracks(first), first.json()["next_cursor"] is None) == ([(1, 1), (2, 2), (3, 3)], False)
    second = read(api, limit=3, cursor=first.json()["next_cursor"])
    assert tracks(second) == [(4, 4), (5, 5), (6, 6)]
    last = read(api, limit=3, cursor=second.json()["next_cursor"])
    assert (tracks(last), last.json()["next_cursor"]) == ([(7, 7), (8, 8)], None)
    jazz = read(api, limit=3, genre="jazz")
    assert tracks(read(api, limit=3, genre="jazz", cursor=jazz.json()["next_cursor"])) == [(4, 7)]
    assert read(api, limit=8).json()["next_cursor"] is None


def test_cursor_of_an_older_publication_continues_it_until_it_is_pruned(api: Api) -> None:
    first = read(api, limit=3)
    with connect(api.database) as connection:
        go_live(connection, stage(connection, {5: [20, 21, 22, 23]}))
        assert ids(read(api, limit=3)) == [20, 21, 22]
        older = read(api, limit=3, cursor=first.json()["next_cursor"])
        assert (ids(older), older.json()["publication_id"]) == ([4, 5, 6], first.json()["publication_id"])
        connection.execute(
            "update ml.publications set pruned_at = %s where publication_id = %s",
            [NOW, first.json()["publication_id"]],
        )
        expired = read(api, limit=3, cursor=first.json()["next_cursor"])
        assert "deleted" in assert_problem(expired, 410, "expired-cursor")["detail"]
        for unknown in ("0.user.1.1", "99.user.7.7"):
            never_published = read(api, limit=3, cursor=unknown)
            assert "was published" in assert_problem(never_published, 410, "expired-cursor")["detail"]
        drop(connection, first.json()["publication_id"])
        assert_problem(read(api, cursor=first.json()["next_cursor"]), 410, "expired-cursor")


def test_cursor_of_a_changed_fresh_list_is_refused(api: Api) -> None:
    save = (
        "insert into ml.fresh_recommendations values (1, 5, %(tracks)s, %(scores)s, 1, %(as_of)s)"
        " on conflict (publication_id, user_id) do update set track_ids = excluded.track_ids, as_of = excluded.as_of"
    )
    with connect(api.database) as connection:
        values = {"tracks": [30, 31, 32, 33], "scores": [4.0, 3.0, 2.0, 1.0], "as_of": NOW}
        connection.execute(save, values)
        first = read(api, limit=2)
        assert (ids(first), first.json()["fallback"]) == ([30, 31], False)
        cursor = first.json()["next_cursor"]
        assert tracks(read(api, limit=2, cursor=cursor)) == [(3, 32), (4, 33)]
        assert ids(read(api, genre="polka")) == []
        connection.execute(save, values | {"as_of": NOW + timedelta(microseconds=1)})
        assert "played music" in assert_problem(read(api, cursor=cursor), 410, "expired-cursor")["detail"]


def test_cursor_does_not_mix_the_lists_of_two_genres(api: Api) -> None:
    path = f"/v1/users/{ROCK_FAN}/recommendations"
    with connect(api.database) as connection:
        lists = {"": [50], "Rock": [60, 61, 62], "Jazz": [70, 71, 72]}
        go_live(connection, stage(connection, {6: [9]}, fallbacks=lists))
        cursor = api.get(path, params={"limit": 1}).json()["next_cursor"]
        assert tracks(api.get(path, params={"limit": 1, "cursor": cursor})) == [(2, 61)]
        connection.execute("update warehouse.users set favorite_genres = 'Jazz' where id = %s", [ROCK_FAN])
        changed = api.get(path, params={"limit": 1, "cursor": cursor})
        assert "another genre" in assert_problem(changed, 410, "expired-cursor")["detail"]


@pytest.mark.parametrize(
    ("query", "field", "message"),
    [
        ("cursor=7", "query.cursor", "must be the next_cursor of an earlier response"),
        ("cursor=1.user.0.0.1", "query.cursor", "must be the next_cursor of an earlier response"),
        ("cursor=1.genre.0.0", "query.cursor", "must be the next_cursor of an earlier response"),
        ("cursor=1.fresh.0.0", "query.cursor", "must be the next_cursor of an earlier response"),
        ("exclude=1,x", "query.exclude.1", "must be an integer"),
        ("exclude=9223372036854775808", "query.exclude.0", _ANY_ID),
        ("genre=", "query.genre", "must have at least 1 character"),
        ("genre=a%00b", "query.genre", "must have no control characters"),
        ("artist=" + "a" * 201, "query.artist", "must have at most 200 characters"),
        ("new_only=maybe", "query.new_only", "must be true or false"),
        ("limit=51", "query.limit", "must be at most 50"),
        ("limit=" + "9" * 20, "query.limit", "must be at most 50"),
        ("limit=1&limit=2&limit=3", "query.limit", "is given more than once"),
        ("genre=a&genre=b", "query.genre", "is given more than once"),
        ("genre=%FF%FE", "query.genre", "must be UTF-8"),
        ("offset=2", "query.offset", "is not a known parameter; this path accepts limit, cursor,"),
    ],
)
def test_invalid_queries_are_refused(world: Api, query: str, field: str, message: str) -> None:
    problem = assert_problem(world.get(f"/v1/users/5/recommendations?{query}"), 422, "invalid-request")
    assert [error["field"] for error in problem["errors"]] == [field]
    assert problem["errors"][0]["message"].startswith(message)


def test_unknown_parameters_are_named_with_what_the_path_accepts(world: Api) -> None:
    for method, path, accepted in (
        ("GET", "/v1/users/5/recommendations?page=2", "limit, cursor, exclude, genre, artist, new_only, explain"),
        ("GET", "/v1/tracks/1/similar?page=2", "limit"),
        ("POST", "/v1/feedback?page=2", "none"),
    ):
        problem = assert_problem(world.client.request(method, path), 422, "invalid-request")
        assert problem["errors"] == [
            {"field": "query.page", "message": f"is not a known parameter; this path accepts {accepted}"}
        ]
    undecodable = world.get(f"/v1/popular?{'a' * 99}%FF=1")
    assert assert_problem(undecodable, 422, "invalid-request")["errors"][0]["field"] == "query." + "a" * 50


def test_etag_saves_the_body_until_the_content_changes(api: Api) -> None:
    path = "/v1/users/5/recommendations"
    first = api.get(path)
    tag = first.headers["etag"]
    assert first.headers["cache-control"] == "private, no-cache"
    for sent in (tag, f'"other", W/{tag}', "*"):
        cached = api.get(path, headers={"If-None-Match": sent})
        assert (cached.status_code, cached.content, cached.headers["etag"]) == (304, b"", tag)
    head = api.client.request("HEAD", path, headers={"If-None-Match": tag})
    assert (head.status_code, api.client.request("HEAD", path).headers["etag"]) == (304, tag)
    with connect(api.database) as connection:
        connection.execute("update warehouse.tracks set removed_at = %s where id = 3", [NOW])
    changed = api.get(path, headers={"If-None-Match": tag})
    assert (changed.status_code, ids(changed)) == (200, [1, 2, 4, 5, 6, 7, 8])


def test_options_lists_the_methods(world: Api) -> None:
    for path, allowed in (
        ("/v1/users/5/recommendations", "GET, HEAD, OPTIONS"),
        ("/v1/feedback", "POST, OPTIONS"),
        ("/health", "GET, HEAD, OPTIONS"),
    ):
        response = httpx.options(world.url + path, timeout=60)
        assert (response.status_code, response.content, response.headers["allow"]) == (204, b"", allowed)
    assert httpx.options(f"{world.url}/nothing", timeout=60).status_code == 404


def test_other_origins_are_refused_unless_they_are_configured(populated: str, world: Api) -> None:
    preflight = {"Origin": "https://app.example", "Access-Control-Request-Method": "GET"}
    preflight |= {"Access-Control-Request-Headers": "authorization"}
    path = "/v1/users/5/recommendations"
    assert "access-control-allow-origin" not in httpx.options(world.url + path, headers=preflight, timeout=60).headers
    assert "access-control-allow-origin" not in world.get(path, headers=preflight).headers
    with serving(populated, serving_cors_origins="https://app.example") as api:
        allowed = httpx.options(api.url + path, headers=preflight, timeout=60)
        assert allowed.status_code == 200
        assert allowed.headers["access-control-allow-origin"] == "https://app.example"
        refused = httpx.options(api.url + path, headers=preflight | {"Origin": "https://evil.example"}, timeout=60)
        assert "access-control-allow-origin" not in refused.headers
        assert "origin" in assert_problem(refused, 400, "bad-request")["detail"]
        failed = api.get(path, headers={"Origin": "https://app.example"})
        assert failed.headers["access-control-allow-origin"] == "https://app.example"
        assert "etag" in failed.headers["access-control-expose-headers"].lower()
