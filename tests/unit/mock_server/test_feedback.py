"""Simulated feedback: it follows the tastes of the day, with a few reproducible wrong answers."""

import datetime as dt
from dataclasses import replace

import numpy as np
import pytest

from mock_server.day_state import DayState, SimulationPlan
from mock_server.feedback import (
    WRONG_ANSWER_SHARE,
    ShownTracks,
    UnknownId,
    report_usefulness,
    reported_useful,
    truly_useful,
)
from mock_server.randomness import ID_SPACE, public_ids, rows_of
from mock_server.timeline import Timeline
from mock_server.users import SCENE_SLOTS, true_scores

TODAY = dt.date(2026, 11, 22)
TOMORROW = TODAY + dt.timedelta(days=1)
PLAN = SimulationPlan(7, dt.date(2025, 5, 23), TODAY, users=1000, tracks=2000, sessions=1000)
SHOWN = 20


@pytest.fixture(scope="module")
def timeline() -> Timeline:
    return Timeline(PLAN)


@pytest.fixture(scope="module")
def state(timeline: Timeline) -> DayState:
    return timeline.base


def best_tracks(state: DayState) -> np.ndarray:
    """The rows of the 20 tracks that each user is most likely to play; shape (users, 20)."""
    return np.argsort(-true_scores(state.users, state.pools, np.arange(PLAN.users)), axis=1)[:, :SHOWN]


def random_tracks() -> np.ndarray:
    return np.random.default_rng(3).integers(0, PLAN.tracks, (PLAN.users, SHOWN))


def requests_for(state: DayState, tracks: np.ndarray) -> list[ShownTracks]:
    rows = zip(state.users.id[: len(tracks)].tolist(), state.tracks.id[tracks].tolist(), strict=True)
    return [ShownTracks(user_id, track_ids) for user_id, track_ids in rows]


def useful_share(state: DayState, tracks: np.ndarray) -> float:
    return float(np.mean([entry["useful"] for entry in report_usefulness(state, requests_for(state, tracks))]))


def test_track_of_a_favourite_scene_or_artist_is_useful(state: DayState) -> None:
    tastes = state.users.tastes.copy()
    tastes[:, SCENE_SLOTS:] = np.roll(tastes[:, SCENE_SLOTS:], 1, axis=0)  # artists outside the favourite scenes
    state = replace(state, users=replace(state.users, tastes=tastes))
    favourites = [set(pools) for pools in tastes[:50].tolist()]
    tracks = random_tracks()[:50].astype(np.int32)
    scenes, artists = state.pools.scene_pool(tracks).tolist(), state.pools.artist_pool(tracks).tolist()
    expected = [
        scene in favourites[user] or artist in favourites[user]
        for user in range(50)
        for scene, artist in zip(scenes[user], artists[user], strict=True)
    ]
    assert truly_useful(state, np.repeat(np.arange(50, dtype=np.int32), SHOWN), tracks.ravel()).tolist() == expected
    assert set(expected) == {True, False}


@pytest.mark.parametrize("useful", [True, False])
def test_wrong_answers_occur_at_the_same_rate_in_both_directions(state: DayState, useful: bool) -> None:
    users = np.repeat(np.arange(PLAN.users, dtype=np.int32), 100)
    tracks = np.random.default_rng(4).integers(0, PLAN.tracks, len(users)).astype(np.int32)
    truth = truly_useful(state, users, tracks)
    is_wrong = reported_useful(state, users, tracks) != truth
    assert is_wrong[truth == useful].mean() == pytest.approx(WRONG_ANSWER_SHARE, abs=0.005)


def test_best_tracks_are_useful_and_random_tracks_mostly_are_not(state: DayState) -> None:
    assert useful_share(state, best_tracks(state)) > 0.9
    assert useful_share(state, random_tracks()) < 0.35


def test_answers_are_stable_within_a_day_and_change_the_next_day(timeline: Timeline) -> None:
    requests = requests_for(timeline.base, random_tracks())
    today = report_usefulness(timeline.state_on(TODAY), requests)
    assert report_usefulness(Timeline(PLAN).state_on(TODAY), requests) == today
    one_by_one = [report_usefulness(timeline.state_on(TODAY), [shown_tracks])[0] for shown_tracks in requests[:20]]
    assert one_by_one == today[:20]
    tomorrow = report_usefulness(timeline.state_on(TOMORROW), requests)
    changed = np.mean([old["useful"] != new["useful"] for old, new in zip(today, tomorrow, strict=True)])
    assert changed > 0.5


def test_another_seed_gives_other_wrong_answers(state: DayState) -> None:
    reseeded = replace(state, plan=replace(PLAN, seed=8))
    users, tracks = np.repeat(np.arange(1000, dtype=np.int32), SHOWN), random_tracks().astype(np.int32).ravel()
    assert (
        reported_useful(state, users, tracks) != reported_useful(reseeded, users, tracks)
    ).mean() > WRONG_ANSWER_SHARE


def test_answers_keep_the_order_of_the_requests(state: DayState) -> None:
    users, tracks = state.users.id.tolist(), state.tracks.id.tolist()
    requests = [
        ShownTracks(users[5], tracks[:3]),
        ShownTracks(users[2], []),
        ShownTracks(users[9], tracks[7:8]),
        ShownTracks(users[5], tracks),
    ]
    answers = report_usefulness(state, requests)
    assert [(entry["user_id"], len(entry["useful"])) for entry in answers] == [
        (users[5], 3),
        (users[2], 0),
        (users[9], 1),
        (users[5], 2000),
    ]
    assert answers[0]["useful"] == answers[3]["useful"][:3]
    assert report_usefulness(state, []) == []


def test_former_best_tracks_are_not_useful_after_a_taste_shift(timeline: Timeline) -> None:
    shifting = timeline.with_plan(replace(PLAN, taste_shift_day=TODAY, taste_shift=0.5))
    best = best_tracks(timeline.base)
    before, after = shifting.state_on(TODAY), shifting.state_on(TOMORROW)
    users = np.arange(PLAN.users)
    shifted = (before.users.tastes[users] != after.users.tastes[users]).any(axis=1)
    useful = [
        np.array([entry["useful"] for entry in report_usefulness(day, requests_for(day, best))])
        for day in (before, after)
    ]
    assert useful[0][shifted].mean() > 0.9
    assert useful[1][shifted].mean() < 0.5
    assert useful[1][~shifted].mean() > 0.9
    assert useful_share(after, best_tracks(after)) > 0.9


@pytest.mark.parametrize(
    ("shown_tracks", "words"),
    [
        ((-1, [0]), "no user has the id -1"),
        ((ID_SPACE + 7, [0]), "no user has the id 99999996"),
        ((2**63 - 1, [0]), "no user has the id 9223372036854775807"),
        ((None, [4, -5, -6]), "no track has the id 4"),
    ],
)
def test_error_names_the_first_unknown_id(
    state: DayState, shown_tracks: tuple[int | None, list[int]], words: str
) -> None:
    user = state.users.id[0].item()
    valid_request = ShownTracks(user, state.tracks.id[:2].tolist())
    with pytest.raises(UnknownId, match=f"^{words}$"):
        report_usefulness(
            state,
            [valid_request, ShownTracks(shown_tracks[0] or user, shown_tracks[1] if shown_tracks[0] is None else [])],
        )


def test_future_users_are_unknown_and_removed_tracks_are_known() -> None:
    timeline = Timeline(replace(PLAN, removals=0.05))
    later = timeline.state_on(TODAY + dt.timedelta(days=5))
    newest = later.users.id[-1].item()
    removed = later.tracks.id[~later.tracks.listed][:1].tolist()
    assert report_usefulness(later, [ShownTracks(newest, removed)])[0]["user_id"] == newest
    earlier = timeline.state_on(TODAY - dt.timedelta(days=300))
    future_user = earlier.users.id[~earlier.users.listed][0].item()
    for day, unknown in ((timeline.state_on(TODAY), newest), (earlier, future_user)):
        with pytest.raises(UnknownId):
            report_usefulness(day, [ShownTracks(unknown, [])])


@pytest.mark.parametrize("kind", [1, 2])
def test_rows_of_inverts_public_ids(kind: int) -> None:
    rows = np.array([0, 1, 2, 999, ID_SPACE - 1])
    ids = np.array([public_ids(row, 1, 7, kind)[0] for row in rows.tolist()], np.int64)
    assert (rows_of(ids, 7, kind) == rows).all()
    assert (rows_of(np.array([0, -3, ID_SPACE + 1, 2**63 - 1]), 7, kind) == ID_SPACE).all()
