"""Feedback of several kinds, hidden tracks, impressions, and reasons."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from core.database import connect
from recommender.publishing import retention
from tests.integration.serving.api import JAZZ_FAN, NOW, REMOVED_TRACK, ROCK_FAN, Api, go_live, serving, stage
from tests.integration.serving.test_responses import assert_problem, tracks


@pytest.fixture
def api(populated: str, tmp_path: Path) -> Iterator[Api]:
    with connect(populated) as connection:
        lists = {5: [1, 2, 3, 4], 6: [7]}
        go_live(connection, stage(connection, lists, {"": [50, 51], "Rock": [60]}, {30: [40, 41, 42]}))
    clock = tmp_path / "clock"
    clock.write_text(NOW.isoformat())
    with serving(populated, clock_file=clock) as running:
        yield running


def send(api: Api, *items: dict[str, Any]) -> httpx.Response:
    return api.client.post("/v1/feedback/batch", json={"feedback": list(items)})


def show(api: Api, *items: dict[str, Any]) -> httpx.Response:
    return api.client.post("/v1/impressions", json={"impressions": list(items)})


def rows(api: Api, query: str) -> list[Any]:
    with connect(api.database) as connection:
        return connection.execute(query).fetchall()


def test_each_kind_is_stored_once_and_unknown_items_are_named(api: Api) -> None:
    kinds = ("useful", "not_useful", "like", "dislike", "skip", "complete", "hide")
    items: list[dict[str, Any]] = [{"user_id": 6, "track_id": 7, "kind": kind, "publication_id": 1} for kind in kinds]
    unknown = {"user_id": 404, "track_id": REMOVED_TRACK, "kind": "like", "publication_id": 9}
    first, second = send(api, *items, unknown, *items), send(api, *items)
    references = [{"field": name, "message": "is unknown"} for name in ("user_id", "track_id", "publication_id")]
    assert first.json() == {"accepted": 14, "rejected": [{"index": 7, "errors": references}]}
    assert second.json() == {"accepted": 7, "rejected": []}
    assert rows(api, "select useful from ml.feedback") == [(False,)]  # the last of the two
    assert rows(api, "select kind from ml.reactions order by kind") == [(kind,) for kind in sorted(kinds[2:])]


@pytest.mark.parametrize("batch", [[], [{"user_id": 5, "track_id": 1, "kind": "love"}], [{}] * 1001])
def test_invalid_batches_are_refused(api: Api, batch: list[Any]) -> None:
    assert_problem(send(api, *batch), 422, "invalid-request")
    assert_problem(show(api, *batch), 422, "invalid-request")


def test_invalid_items_are_named_and_at_most_50_are_listed(api: Api) -> None:
    faulty = impression()
    del faulty["rank"]
    problem = assert_problem(show(api, *[impression()] * 4, faulty | {"place": 1}), 422, "invalid-request")
    assert problem["errors"] == [
        {"field": "body.impressions.4.rank", "message": "is required"},
        {"field": "body.impressions.4.place", "message": "is not a known field"},
    ]
    assert problem["detail"] == "errors lists each invalid field"
    flood = assert_problem(send(api, *[{}] * 1000), 422, "invalid-request")
    assert len(flood["errors"]) == 50
    assert flood["detail"] == "errors lists the first 50 of 3,000 invalid fields"
    too_long = assert_problem(send(api, *[{}] * 1001), 422, "invalid-request")
    assert too_long["errors"] == [{"field": "body.feedback", "message": "must have at most 1,000 items"}]


def test_hidden_track_disappears_at_once_from_every_list(api: Api) -> None:
    path = "/v1/users/5/recommendations"
    cached = api.get(path)
    send(api, {"user_id": 5, "track_id": 2, "kind": "hide"})
    after = api.get(path, headers={"If-None-Match": cached.headers["etag"]})
    assert tracks(after) == [(1, 1), (2, 3), (3, 4)]
    with connect(api.database) as connection:
        connection.execute("insert into ml.fresh_recommendations values (1, 5, '{2,9,8}', '{3,2,1}', 1, %s)", [NOW])
    assert tracks(api.read(5)) == [(1, 9), (2, 8)]
    send(api, {"user_id": ROCK_FAN, "track_id": 60, "kind": "hide"})
    assert tracks(api.read(ROCK_FAN)) == [(1, 50), (2, 51)]
    assert tracks(api.read(6)) == [(1, 7)]  # of another user


def test_flood_of_hides_neither_breaks_lists_nor_passes_the_limit(api: Api, populated: str) -> None:
    reactions = [{"user_id": 5, "track_id": track, "kind": "hide"} for track in range(1, 101)]
    statuses = [send(api, *reactions * 10).status_code for _ in range(7)]
    assert statuses == [200] * 6 + [429]
    assert (tracks(api.read(5)), api.read(5).json()["fallback"]) == ([], True)
    assert tracks(api.read(6)) == [(1, 7)]
    with serving(populated, key=api.key) as second_api:
        assert send(second_api, reactions[0]).status_code == 200


def impression(**values: Any) -> dict[str, Any]:
    return {"user_id": 5, "publication_id": 1, "track_id": 2, "rank": 2, "shown_at": NOW.isoformat()} | values


def test_impressions_are_stored_once_and_not_from_the_future(api: Api) -> None:
    later, future = NOW - timedelta(seconds=5), NOW + timedelta(hours=1)
    items = [impression(), impression(), impression(rank=9), impression(shown_at=later.isoformat())]
    items += [impression(shown_at=future.isoformat()), impression(user_id=404), impression(publication_id=9)]
    for _ in range(2):
        assert show(api, *items).json() == {
            "accepted": 4,
            "rejected": [
                {"index": 4, "errors": [{"field": "shown_at", "message": "is in the future"}]},
                {"index": 5, "errors": [{"field": "user_id", "message": "is unknown"}]},
                {"index": 6, "errors": [{"field": "publication_id", "message": "is unknown"}]},
            ],
        }
    assert rows(api, "select rank, is_recommended from ml.impressions order by shown_at") == [(2, True), (2, True)]


def test_impressions_of_tracks_of_other_users_are_marked(api: Api) -> None:
    show(api, impression(user_id=6), impression(user_id=JAZZ_FAN, track_id=50), impression(user_id=6, track_id=50))
    assert rows(api, "select user_id, track_id, is_recommended from ml.impressions order by 1, 2") == [
        (6, 2, False),
        (6, 50, False),
        (JAZZ_FAN, 50, True),
    ]


def test_impressions_of_pruned_publications_are_deleted_in_batches(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "_IMPRESSIONS_PER_STATEMENT", 2)
    show(api, *[impression(shown_at=(NOW - timedelta(seconds=number)).isoformat()) for number in range(5)])
    with connect(api.database) as connection:
        go_live(connection, stage(connection, {5: [1]}))
        show(api, impression(publication_id=2))
        retention.prune_publications(connection, keep=1, now=NOW)
    assert rows(api, "select publication_id from ml.impressions") == [(2,)]


def reasons(api: Api, user: int) -> list[Any]:
    response = api.get(f"/v1/users/{user}/recommendations", params={"explain": True})
    assert [track.keys() - {"reason"} for track in response.json()["recommendations"]] == [
        track.keys() for track in api.read(user).json()["recommendations"]
    ]
    return [track["reason"] for track in response.json()["recommendations"]]


def test_reasons_are_published_or_follow_from_fresh_plays(api: Api) -> None:
    with connect(api.database) as connection:
        connection.execute("update ml.recommendations set because_track_id = 9 where user_id = 5 and rank = 1")
        connection.execute(
            "update ml.recommendations set because_track_id = %s where user_id = 5 and rank = 2", [REMOVED_TRACK]
        )
        played, removed, *unknown = reasons(api, 5)
        assert played == {
            "kind": "played",
            "track_id": 9,
            "title": "Title 9",
            "artist": "Artist",
            "genre": None,
            "text": "Because you played Title 9 by Artist",
        }
        assert [removed, *unknown] == [None, None, None]
        connection.execute("insert into ml.fresh_recommendations values (1, 5, '{30,31}', '{2,1}', 1, %s)", [NOW])
        connection.execute("insert into mart.user_track_plays values (5, 42, 1, %(now)s, %(now)s)", {"now": NOW})
        connection.execute(
            "insert into stream.sessions"
            ' (user_id, created_at, updated_at, items, received_at, topic, partition, "offset")'
            " values (5, %(now)s, %(now)s, '{41}', %(now)s, 't', 0, 1)",
            {"now": NOW},
        )
    by_similar, without_reason = reasons(api, 5)
    assert (by_similar["track_id"], without_reason) == (41, None)
    (in_genre,) = reasons(api, ROCK_FAN)
    assert (in_genre["kind"], in_genre["genre"]) == ("popular-in-genre", "Rock")
    assert [reason["kind"] for reason in reasons(api, JAZZ_FAN)] == ["popular", "popular"]
