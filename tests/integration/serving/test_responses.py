"""Responses and problem details."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

import httpx
import pytest

from core.database import connect
from tests.integration.serving.api import JAZZ_FAN, REMOVED_TRACK, REMOVED_USER, ROCK_FAN, Api, go_live, serving, stage

PUBLISHED = 2  # the live publication of the shared database
HUGE = "9" * 40
INVALID_IDS = [
    "1%27%20or%20%271%27=%271",
    "1;drop%20table%20ml.feedback",
    "%00",
    "1%00",
    "%F0%9F%8E%B5",
    "%D9%A1",
    "%C3%28",
    "1.0",
]
INVALID_IDS += [
    "1_0",
    "+1",
    "%201",
    "0x1",
    "1e3",
    "nan",
    "null",
    "-",
    HUGE,
    f"-{HUGE}",
    str(2**63),
    str(-(2**63) - 1),
    "a" * 4000,
]


def tracks(response: httpx.Response, name: str = "recommendations") -> list[tuple[int, int]]:
    assert response.status_code == 200, response.text
    return [(track["rank"], track["track_id"]) for track in response.json()[name]]


def assert_problem(response: httpx.Response, status: int, name: str) -> dict[str, Any]:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert problem["type"] == f"urn:moovitamix:problem:{name}"
    assert problem["status"] == status
    assert problem.keys() >= {"title", "detail", "instance"}
    assert problem["instance"].startswith("urn:uuid:")
    return dict(problem)


def test_recommendations_have_no_removed_tracks_and_no_gaps(world: Api) -> None:
    response = world.read(5)
    assert tracks(response) == [(1, 5), (2, 6), (3, 7)]
    content = response.json()
    assert {name: content[name] for name in ("user_id", "publication_id", "fallback")} == {
        "user_id": 5,
        "publication_id": PUBLISHED,
        "fallback": False,
    }
    assert datetime.fromisoformat(content["published_at"]).utcoffset() is not None
    assert content["recommendations"][0] == {
        "rank": 1,
        "track_id": 5,
        "title": "Title 5",
        "artist": "Artist",
        "score": 1.0,
    }


def test_n_counts_returned_tracks(world: Api) -> None:
    assert tracks(world.read(5, n=2)) == [(1, 5), (2, 6)]
    assert tracks(world.read(5, n=50)) == [(1, 5), (2, 6), (3, 7)]


def test_user_without_recommendations_gets_the_fallback(world: Api) -> None:
    rock, jazz = world.read(ROCK_FAN), world.read(JAZZ_FAN)
    assert tracks(rock) == [(1, 60), (2, 61)]
    assert tracks(jazz) == [(1, 50), (2, 51), (3, 52)]
    assert rock.json()["fallback"] is jazz.json()["fallback"] is True


@pytest.mark.parametrize("user_id", [REMOVED_USER, 404, 0, -1, 2**63 - 1, -(2**63)])
def test_unknown_or_removed_user_is_404(world: Api, user_id: int) -> None:
    assert_problem(world.read(user_id), 404, "unknown-listener")


def test_similar_tracks(world: Api) -> None:
    assert tracks(world.get("/v1/tracks/1/similar"), "similar") == [(1, 2), (2, 3)]
    assert tracks(world.get("/v1/tracks/1/similar?n=1"), "similar") == [(1, 2)]
    assert tracks(world.get("/v1/tracks/2/similar"), "similar") == []


@pytest.mark.parametrize("track_id", [REMOVED_TRACK, 404])
def test_unknown_or_removed_track_is_404(world: Api, track_id: int) -> None:
    assert_problem(world.get(f"/v1/tracks/{track_id}/similar"), 404, "unknown-track")


@pytest.mark.parametrize("invalid", INVALID_IDS)
def test_invalid_ids_are_refused_and_not_repeated(world: Api, invalid: str) -> None:
    for path in (f"/v1/users/{invalid}/recommendations", f"/v1/tracks/{invalid}/similar"):
        response = world.get(path)
        problem = assert_problem(response, 422, "invalid-request")
        assert [error["field"].split(".")[0] for error in problem["errors"]] == ["path"]
        assert invalid not in response.text or len(invalid) < 4


@pytest.mark.parametrize("n", ["0", "51", "-1", *INVALID_IDS])
def test_invalid_counts_are_refused(world: Api, n: str) -> None:
    problem = assert_problem(world.get(f"/v1/users/5/recommendations?n={n}"), 422, "invalid-request")
    assert [error["field"] for error in problem["errors"]] == ["query.n"]
    if n.lstrip("-").isdigit():
        assert problem["errors"][0]["message"] == ("must be at least 1" if int(n) < 1 else "must be at most 50")


def test_fast_path_and_full_parsing_give_the_same_response(world: Api) -> None:
    """Simple requests bypass FastAPI's parsing of parameters; the response must be the same."""
    many_digits = "5".zfill(19)  # FastAPI parses these
    for query in ("", "n=2", "limit=02", "exclude=6,8&exclude=9&genre=words&new_only=true&limit=1"):
        simple, parsed = (world.get(f"/v1/users/{user}/recommendations?{query}") for user in (5, many_digits))
        assert tracks(simple)
        assert parsed.content == simple.content


def test_responses_before_the_first_publication(populated: str) -> None:
    with serving(populated) as api:
        for response in (api.read(5), api.read(404), api.get("/v1/tracks/1/similar")):
            assert_problem(response, 503, "not-published")
            assert int(response.headers["retry-after"]) > 0
        assert api.get("/health/live").status_code == 200
        for path in ("/health", "/health/ready"):
            report = assert_problem(api.get(path), 503, "not-published")
            assert (report["live"], report["ready"], report["database"]) == (True, False, True)
            assert int(api.get(path).headers["retry-after"]) > 0
        with connect(populated) as connection:
            go_live(connection, stage(connection, {5: [1, 2]}))
        assert tracks(api.read(5)) == [(1, 1), (2, 2)]
        # Without recommendations and fallback, the response is empty and marked as fallback.
        empty = api.read(6)
        assert (tracks(empty), empty.json()["fallback"]) == ([], True)


def test_only_removed_tracks_lead_to_the_fallback(populated: str) -> None:
    with connect(populated) as connection:
        go_live(connection, stage(connection, {5: [REMOVED_TRACK]}, fallbacks={"": [7]}))
    with serving(populated) as api:
        response = api.read(5)
        assert (tracks(response), response.json()["fallback"]) == ([(1, 7)], True)


@pytest.mark.parametrize(
    ("method", "path", "status", "name"),
    [
        ("GET", "/", 404, "not-found"),
        ("GET", "/v1/users/5/recommendations/", 404, "not-found"),
        ("GET", "/v1/users/5%2F6/recommendations", 404, "not-found"),
        ("POST", "/v1/users/5/recommendations", 405, "method-not-allowed"),
        ("GET", "/v1/feedback", 405, "method-not-allowed"),
        ("DELETE", "/health", 405, "method-not-allowed"),
    ],
)
def test_unknown_paths_and_methods_are_refused(world: Api, method: str, path: str, status: int, name: str) -> None:
    response = world.client.request(method, path)
    assert_problem(response, status, name)
    assert ("allow" in response.headers) == (status == 405)


def test_examples_of_errors_are_as_sent(world: Api) -> None:
    paths = world.get("/openapi.json").json()["paths"]
    user, track, feedback = "/v1/users/{user_id}/recommendations", "/v1/tracks/{track_id}/similar", "/v1/feedback"
    unknown = {"user_id": 1, "track_id": 404, "useful": True}
    for path, method, response in (
        (user, "get", httpx.get(f"{world.url}{user.format(user_id=5)}", timeout=60)),
        (user, "get", world.get(user.format(user_id=5), headers={"Authorization": f"Bearer {'x' * 9}"})),
        (user, "get", world.read(404)),
        (user, "get", world.get(f"{user.format(user_id=5)}?limit=51")),
        (track, "get", world.get(track.format(track_id=404))),
        (
            feedback,
            "post",
            world.client.post(feedback, content=b'{"user_id": }', headers={"Content-Type": "application/json"}),
        ),
        (feedback, "post", world.client.post(feedback, content=b"{}")),
        (feedback, "post", world.client.post(feedback, json={"a": "a" * 262_144})),
        (feedback, "post", world.client.post(feedback, json=unknown)),
        (feedback, "post", world.client.post(feedback, json=unknown | {"useful": "yes"})),
    ):
        sent = response.json()
        content = paths[path][method]["responses"][str(response.status_code)]["content"]["application/problem+json"]
        documented = content["examples"][sent["type"].rpartition(":")[2]]["value"]
        assert {**documented, "instance": ""} == {**sent, "instance": ""}


def test_health_and_metrics(world: Api) -> None:
    assert httpx.get(f"{world.url}/health/live", timeout=60).json() == {"live": True}
    for path in ("/health", "/health/ready"):
        health = httpx.get(f"{world.url}{path}", timeout=60)
        assert health.status_code == 200
        assert health.json()["publication_id"] == PUBLISHED
        assert health.json()["publication_age_seconds"] == 3600
    world.read(5)
    text = world.get("/metrics").text
    template = 'route="/v1/users/{user_id}/recommendations"'
    assert f'moovitamix_serving_requests_total{{method="GET",{template},status="200"}}' in text
    assert f'moovitamix_serving_request_seconds_bucket{{le="0.005",{template}}}' in text
    assert "moovitamix_serving_database_up 1.0" in text
    assert "\nmoovitamix_serving_publication_age_seconds " in text
    assert "/v1/users/5/" not in text


def test_head_answers_like_get_without_a_body_on_every_path(world: Api) -> None:
    pages = ["/docs", "/docs/docs.js", "/openapi.json", "/", "/nothing/here"]
    contract = world.get("/openapi.json").json()["paths"]
    read = [path.format(user_id=5, track_id=1) for path, operations in contract.items() if "get" in operations]
    for path in (*pages, *read):
        for headers in ({}, {"Authorization": "Bearer wrong"}, dict(world.client.headers)):
            get, head = (
                httpx.request(method, f"{world.url}{path}", headers=headers, timeout=60) for method in ("GET", "HEAD")
            )
            assert (path, head.status_code, head.content) == (path, get.status_code, b"")
            equal_headers = ("content-type", "www-authenticate", "content-security-policy", "allow")
            assert [head.headers.get(name) for name in equal_headers] == [
                get.headers.get(name) for name in equal_headers
            ]
            assert int(head.headers["content-length"]) > 0
    post_only = world.client.request("HEAD", "/v1/feedback")
    assert (post_only.status_code, post_only.headers["allow"]) == (405, "POST, OPTIONS")
    assert world.client.request("DELETE", "/health").headers["allow"] == "GET, HEAD, OPTIONS"
    # One connection serves both, so the client does not wait for the announced length.
    assert [world.client.request(method, "/health").status_code for method in ("HEAD", "GET", "HEAD")] == [200] * 3
    assert 'method="HEAD",route="/health",status="200"' in world.get("/metrics").text


def test_docs_page_needs_no_internet(world: Api) -> None:
    page = httpx.get(f"{world.url}/docs", timeout=60)
    assert page.status_code == 200
    links = re.findall(r'(?:src|href)="([^"]*)"', page.text)
    assert len(links) == 5
    for link in links[1:]:
        assert httpx.get(f"{world.url}/{link}", timeout=60).status_code == 200
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert_problem(httpx.get(f"{world.url}/docs/LICENSE", timeout=60), 404, "not-found")
