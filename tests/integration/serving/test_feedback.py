"""Feedback: it is stored once, the last value counts, and invalid input is refused."""

from __future__ import annotations

import gzip
import json
import socket
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from tests.integration.serving.api import NOW, REMOVED_TRACK, REMOVED_USER, Api
from tests.integration.serving.test_responses import HUGE, PUBLISHED, assert_problem

JSON = {"Content-Type": "application/json"}
_COMPRESSED = {"Content-Encoding": "gzip"}


def test_feedback_is_stored_once_and_the_last_value_counts(world: Api) -> None:
    first = world.send_feedback(user_id=1, track_id=1, useful=True, publication_id=PUBLISHED)
    second_response = world.send_feedback(user_id=1, track_id=1, useful=True, publication_id=PUBLISHED)
    assert world.clock_file
    world.clock_file.write_text((NOW + timedelta(hours=2)).isoformat())
    changed = world.send_feedback(user_id=1, track_id=1, useful=False, publication_id=PUBLISHED)
    world.clock_file.write_text((NOW + timedelta(hours=1)).isoformat())
    assert [first.status_code, second_response.status_code, changed.status_code] == [201, 200, 200]
    assert first.json() == second_response.json()
    assert changed.json() == first.json() | {"useful": False, "updated_at": changed.json()["updated_at"]}
    assert changed.json()["updated_at"] > first.json()["updated_at"]


def test_key_does_not_change_feedback_of_another_key(world: Api) -> None:
    feedback = {"user_id": 3, "track_id": 1, "publication_id": PUBLISHED}
    assert world.send_feedback(**feedback, useful=True).status_code == 201
    other_headers = {"Authorization": f"Bearer {world.new_key('feedback:write').text}"}
    by_other_key = world.client.post("/v1/feedback", json=feedback | {"useful": False}, headers=other_headers)
    assert (by_other_key.status_code, by_other_key.json()["useful"]) == (201, False)
    second_response = world.send_feedback(**feedback, useful=True)
    assert (second_response.status_code, second_response.json()["useful"]) == (200, True)
    assert second_response.json()["updated_at"] == second_response.json()["created_at"]


def test_feedback_without_a_publication_is_stored_once(world: Api) -> None:
    assert [world.send_feedback(user_id=2, track_id=1, useful=True).status_code for _ in range(2)] == [201, 200]
    assert world.send_feedback(user_id=2, track_id=1, useful=True, publication_id=PUBLISHED).status_code == 201


@pytest.mark.parametrize(
    ("feedback", "fields"),
    [
        ({"user_id": 404}, ["body.user_id"]),
        ({"user_id": REMOVED_USER}, ["body.user_id"]),
        ({"track_id": REMOVED_TRACK}, ["body.track_id"]),
        ({"publication_id": 404}, ["body.publication_id"]),
        ({"user_id": 404, "track_id": 404}, ["body.user_id", "body.track_id"]),
    ],
)
def test_unknown_references_are_named(world: Api, feedback: dict[str, Any], fields: list[str]) -> None:
    response = world.send_feedback(**{"user_id": 1, "track_id": 1, "useful": True} | feedback)
    problem = assert_problem(response, 422, "unknown-reference")
    assert [error["field"] for error in problem["errors"]] == fields


@pytest.mark.parametrize(
    ("feedback", "field"),
    [
        ({"useful": 1}, "body.useful"),
        ({"useful": "true"}, "body.useful"),
        ({"useful": None}, "body.useful"),
        ({"user_id": "1"}, "body.user_id"),
        ({"user_id": 1.5}, "body.user_id"),
        ({"user_id": True}, "body.user_id"),
        ({"user_id": 2**63}, "body.user_id"),
        ({"track_id": "1; drop table ml.feedback"}, "body.track_id"),
        ({"track_id": "\0"}, "body.track_id"),
        ({"publication_id": [1]}, "body.publication_id"),
        ({"not_a_field \U0001f3b5": 1}, "body.not_a_field \U0001f3b5"),
        ({"key_id": "000000000000"}, "body.key_id"),
        ({"a" * 99: "sécret"}, "body." + "a" * 50),
    ],
)
def test_invalid_feedback_is_refused(world: Api, feedback: dict[str, Any], field: str) -> None:
    body = json.dumps({"user_id": 1, "track_id": 1, "useful": True} | feedback)
    response = world.client.post("/v1/feedback", content=body, headers=JSON)
    problem = assert_problem(response, 422, "invalid-request")
    assert [error["field"] for error in problem["errors"]] == [field]
    assert "drop table" not in response.text
    assert "cret" not in response.text


def test_field_name_that_is_not_valid_unicode_is_refused(world: Api) -> None:
    response = world.client.post("/v1/feedback", content=json.dumps({"\ud800": 1}), headers=JSON)
    problem = assert_problem(response, 422, "invalid-request")
    assert problem["errors"] == [{"field": "body", "message": "has text that is not valid Unicode"}]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"{", "the body is not JSON: expecting property name enclosed in double quotes at line 1, column 2"),
        (b'{"user_id": 1,\n "track_id"}', "the body is not JSON: expecting ':' delimiter at line 2, column 12"),
        (b'{"useful": "a\xff"}', "the body is not valid UTF-8 at byte 13"),
        (b"\xff\xfe", "the body is not JSON: expecting value at line 1, column 1"),
        (b"[" * 200_000, "the body is nested too deeply"),
        (b"9" * 5000, "the body cannot be parsed"),
        (b'{"a', "the body is not JSON: unterminated string starting at line 1, column 2"),
        (b'{"a\n"', "the body is not JSON: invalid control character at line 1, column 4"),
    ],
    ids=["open", "second line", "UTF-8", "UTF-16", "nested", "number", "open string", "line break"],
)
def test_invalid_json_is_refused_with_its_position(world: Api, body: bytes, reason: str) -> None:
    response = world.client.post("/v1/feedback", content=body, headers=JSON)
    assert assert_problem(response, 400, "bad-request")["detail"] == reason


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "is required"),
        (b"[]", "must be an object"),
        (b"null", "is required"),
        (b'{"user_id":' + HUGE.encode() + b', "track_id": 1, "useful": true}', "must be an integer from -9,223"),
    ],
    ids=["empty", "list", "null", "large number"],
)
def test_json_that_is_no_feedback_is_refused(world: Api, body: bytes, message: str) -> None:
    response = world.client.post("/v1/feedback", content=body, headers=JSON)
    problem = assert_problem(response, 422, "invalid-request")
    assert problem["errors"][0]["message"].startswith(message)


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "", "*"])
def test_other_content_types_are_refused(world: Api, kind: str) -> None:
    body = json.dumps({"user_id": 1, "track_id": 1, "useful": True})
    response = world.client.post("/v1/feedback", content=body, headers={"Content-Type": kind} if kind else {})
    problem = assert_problem(response, 415, "unsupported-media-type")
    assert "Content-Type: application/json" in problem["detail"]


def test_json_is_accepted_by_its_content_type_and_not_compressed(world: Api) -> None:
    body = json.dumps({"user_id": 4, "track_id": 1, "useful": True})
    for kind in ("application/json; charset=utf-8", "Application/JSON", "application/vnd.api+json"):
        headers = {"Content-Type": kind, "Content-Encoding": "identity"}
        assert world.client.post("/v1/feedback", content=body, headers=headers).status_code in (200, 201)
    compressed = world.client.post("/v1/feedback", content=gzip.compress(body.encode()), headers=JSON | _COMPRESSED)
    assert "Content-Encoding" in assert_problem(compressed, 415, "unsupported-media-type")["detail"]
    assert compressed.headers["accept-encoding"] == "identity"


def test_large_bodies_are_refused_by_header_and_by_content(world: Api) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(300):
            yield b" " * 1000

    announced = world.client.post("/v1/feedback", content=b" " * 262_145, headers=JSON)
    assert_problem(announced, 413, "too-large")
    assert_problem(world.client.post("/v1/feedback", content=chunks(), headers=JSON), 413, "too-large")
    padded = json.dumps({"user_id": 1, "track_id": 1, "useful": True}).ljust(262_144)
    assert world.client.post("/v1/feedback", content=padded, headers=JSON).status_code in (200, 201)


def test_a_body_is_not_read_without_a_key(world: Api) -> None:
    host, port = world.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=60) as raw:
        raw.sendall(b"POST /v1/feedback HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n")  # without a body
        assert raw.recv(100).startswith(b"HTTP/1.1 401 ")
