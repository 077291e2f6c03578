"""What listeners say of what they were shown: true to their tastes of the day, but for a few repeatable slips."""

import datetime as dt
import time
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
    """The rows of the tracks that each user is likeliest to play: users x 20."""
    return np.argsort(-true_scores(state.users, state.pools, np.arange(PLAN.users)), axis=1)[:, :SHOWN]


def any_tracks() -> np.ndarray:
    return np.random.default_rng(3).integers(0, PLAN.tracks, (PLAN.users, SHOWN))


def shown(state: DayState, tracks: np.ndarray) -> list[ShownTracks]:
    rows = zip(state.users.id[: len(tracks)].tolist(), state.tracks.id[tracks].tolist(), strict=True)
    return [ShownTracks(user, list_) for user, list_ in rows]


def useful_share(state: DayState, tracks: np.ndarray) -> float:
    return float(np.mean([entry["useful"] for entry in report_usefulness(state, shown(state, tracks))]))


def test_a_track_of_a_favourite_scene_or_artist_is_useful(state: DayState) -> None:
    tastes = state.users.tastes.copy()
    tastes[:, SCENE_SLOTS:] = np.roll(tastes[:, SCENE_SLOTS:], 1, axis=0)  # artists of other scenes than the favourites
    state = replace(state, users=replace(state.users, tastes=tastes))
    favourites = [set(pools) for pools in tastes[:50].tolist()]
    tracks = any_tracks()[:50].astype(np.int32)
    scenes, artists = state.pools.scene_pool(tracks).tolist(), state.pools.artist_pool(tracks).tolist()
    wanted = [
        scene in favourites[user] or artist in favourites[user]
        for user in range(50)
        for scene, artist in zip(scenes[user], artists[user], strict=True)
    ]
    assert truly_useful(state, np.repeat(np.arange(50, dtype=np.int32), SHOWN), tracks.ravel()).tolist() == wanted
    assert set(wanted) == {True, False}


@pytest.mark.parametrize("useful", [True, False])
def test_few_answers_are_slips_in_both_directions(state: DayState, useful: bool) -> None:
    users = np.repeat(np.arange(PLAN.users, dtype=np.int32), 100)
    tracks = np.random.default_rng(4).integers(0, PLAN.tracks, len(users)).astype(np.int32)
    truth = truly_useful(state, users, tracks)
    slips = reported_useful(state, users, tracks) != truth
    assert slips[truth == useful].mean() == pytest.approx(WRONG_ANSWER_SHARE, abs=0.005)


def test_best_tracks_are_useful_and_others_mostly_not(state: DayState) -> None:
    assert useful_share(state, best_tracks(state)) > 0.9
    assert useful_share(state, any_tracks()) < 0.35


def test_the_same_question_gets_the_same_answer_all_day_and_another_one_the_day_after(timeline: Timeline) -> None:
    requests = shown(timeline.base, any_tracks())
    today = report_usefulness(timeline.on(TODAY), requests)
    assert report_usefulness(Timeline(PLAN).on(TODAY), requests) == today
    alone = [report_usefulness(timeline.on(TODAY), [shown_tracks])[0] for shown_tracks in requests[:20]]
    assert alone == today[:20]
    tomorrow = report_usefulness(timeline.on(TOMORROW), requests)
    changed = np.mean([one["useful"] != other["useful"] for one, other in zip(today, tomorrow, strict=True)])
    assert changed > 0.5


def test_another_seed_slips_elsewhere(state: DayState) -> None:
    other = replace(state, plan=replace(PLAN, seed=8))
    users, tracks = np.repeat(np.arange(1000, dtype=np.int32), SHOWN), any_tracks().astype(np.int32).ravel()
    assert (reported_useful(state, users, tracks) != reported_useful(other, users, tracks)).mean() > WRONG_ANSWER_SHARE


def test_answers_stand_in_the_order_of_the_questions(state: DayState) -> None:
    users, tracks = state.users.id.tolist(), state.tracks.id.tolist()
    requests = [
        ShownTracks(users[5], tracks[:3]),
        ShownTracks(users[2], []),
        ShownTracks(users[9], tracks[7:8]),
        ShownTracks(users[5], tracks),
    ]
    said = report_usefulness(state, requests)
    assert [(entry["user_id"], len(entry["useful"])) for entry in said] == [
        (users[5], 3),
        (users[2], 0),
        (users[9], 1),
        (users[5], 2000),
    ]
    assert said[0]["useful"] == said[3]["useful"][:3]
    assert report_usefulness(state, []) == []


def test_old_lists_please_those_whose_taste_shifted_no_more(timeline: Timeline) -> None:
    shifting = timeline.under(replace(PLAN, taste_shift_day=TODAY, taste_shift=0.5))
    best = best_tracks(timeline.base)
    before, after = shifting.on(TODAY), shifting.on(TOMORROW)
    users = np.arange(PLAN.users)
    shifted = (before.users.tastes[users] != after.users.tastes[users]).any(axis=1)
    useful = [
        np.array([entry["useful"] for entry in report_usefulness(day, shown(day, best))]) for day in (before, after)
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
def test_the_first_unknown_id_is_named(state: DayState, shown_tracks: tuple[int | None, list[int]], words: str) -> None:
    user = state.users.id[0].item()
    known = ShownTracks(user, state.tracks.id[:2].tolist())
    with pytest.raises(UnknownId, match=f"^{words}$"):
        report_usefulness(
            state, [known, ShownTracks(shown_tracks[0] or user, shown_tracks[1] if shown_tracks[0] is None else [])]
        )


def test_who_is_yet_to_come_is_unknown_and_what_was_removed_is_not() -> None:
    timeline = Timeline(replace(PLAN, removals=0.05))
    later = timeline.on(TODAY + dt.timedelta(days=5))
    newest = later.users.id[-1].item()
    removed = later.tracks.id[~later.tracks.listed][:1].tolist()
    assert report_usefulness(later, [ShownTracks(newest, removed)])[0]["user_id"] == newest
    earlier = timeline.on(TODAY - dt.timedelta(days=300))
    unborn = earlier.users.id[~earlier.users.listed][0].item()
    for day, unknown in ((timeline.on(TODAY), newest), (earlier, unborn)):
        with pytest.raises(UnknownId):
            report_usefulness(day, [ShownTracks(unknown, [])])


@pytest.mark.parametrize("kind", [1, 2])
def test_rows_are_found_by_their_public_ids(kind: int) -> None:
    rows = np.array([0, 1, 2, 999, ID_SPACE - 1])
    ids = np.array([public_ids(row, 1, 7, kind)[0] for row in rows.tolist()], np.int64)
    assert (rows_of(ids, 7, kind) == rows).all()
    assert (rows_of(np.array([0, -3, ID_SPACE + 1, 2**63 - 1]), 7, kind) == ID_SPACE).all()


def test_a_thousand_listeners_answer_at_once(state: DayState) -> None:
    requests = shown(state, any_tracks())
    seconds = []
    for _ in range(5):
        began = time.perf_counter()
        report_usefulness(state, requests)
        seconds.append(time.perf_counter() - began)
    assert min(seconds) < 0.1
