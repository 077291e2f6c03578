"""What listeners say of what they were shown: true to their tastes of the day, but for a few repeatable slips."""

import datetime as dt
import time
from dataclasses import replace

import numpy as np
import pytest

from mock_server.days import Timeline
from mock_server.listeners import SCENE_SLOTS, true_scores
from mock_server.randomness import ID_SPACE, public_ids, rows_of
from mock_server.usefulness import SLIPS, Shown, UnknownId, answers, said_useful, truly_useful
from mock_server.world import Plan, World

TODAY = dt.date(2026, 11, 22)
TOMORROW = TODAY + dt.timedelta(days=1)
PLAN = Plan(7, dt.date(2025, 5, 23), TODAY, users=1000, tracks=2000, sessions=1000)
SHOWN = 20


@pytest.fixture(scope="module")
def timeline() -> Timeline:
    return Timeline(PLAN)


@pytest.fixture(scope="module")
def world(timeline: Timeline) -> World:
    return timeline.base


def best_tracks(world: World) -> np.ndarray:
    """The rows of the tracks that each user is likeliest to play: users x 20."""
    return np.argsort(-true_scores(world.listeners, world.shelves, np.arange(PLAN.users)), axis=1)[:, :SHOWN]


def any_tracks() -> np.ndarray:
    return np.random.default_rng(3).integers(0, PLAN.tracks, (PLAN.users, SHOWN))


def shown(world: World, tracks: np.ndarray) -> list[Shown]:
    rows = zip(world.listeners.id[: len(tracks)].tolist(), world.tracks.id[tracks].tolist(), strict=True)
    return [Shown(user, list_) for user, list_ in rows]


def useful_share(world: World, tracks: np.ndarray) -> float:
    return float(np.mean([entry["useful"] for entry in answers(world, shown(world, tracks))]))


def test_a_track_of_a_favourite_scene_or_artist_is_useful(world: World) -> None:
    tastes = world.listeners.tastes.copy()
    tastes[:, SCENE_SLOTS:] = np.roll(tastes[:, SCENE_SLOTS:], 1, axis=0)  # artists of other scenes than the favourites
    world = replace(world, listeners=replace(world.listeners, tastes=tastes))
    favourites = [set(shelves) for shelves in tastes[:50].tolist()]
    tracks = any_tracks()[:50].astype(np.int32)
    scenes, artists = world.shelves.scene_shelf(tracks).tolist(), world.shelves.artist_shelf(tracks).tolist()
    wanted = [
        scene in favourites[user] or artist in favourites[user]
        for user in range(50)
        for scene, artist in zip(scenes[user], artists[user], strict=True)
    ]
    assert truly_useful(world, np.repeat(np.arange(50, dtype=np.int32), SHOWN), tracks.ravel()).tolist() == wanted
    assert set(wanted) == {True, False}


@pytest.mark.parametrize("useful", [True, False])
def test_few_answers_are_slips_in_both_directions(world: World, useful: bool) -> None:
    users = np.repeat(np.arange(PLAN.users, dtype=np.int32), 100)
    tracks = np.random.default_rng(4).integers(0, PLAN.tracks, len(users)).astype(np.int32)
    truth = truly_useful(world, users, tracks)
    slips = said_useful(world, users, tracks) != truth
    assert slips[truth == useful].mean() == pytest.approx(SLIPS, abs=0.005)


def test_best_tracks_are_useful_and_others_mostly_not(world: World) -> None:
    assert useful_share(world, best_tracks(world)) > 0.9
    assert useful_share(world, any_tracks()) < 0.35


def test_the_same_question_gets_the_same_answer_all_day_and_another_one_the_day_after(timeline: Timeline) -> None:
    questions = shown(timeline.base, any_tracks())
    today = answers(timeline.on(TODAY), questions)
    assert answers(Timeline(PLAN).on(TODAY), questions) == today
    alone = [answers(timeline.on(TODAY), [question])[0] for question in questions[:20]]
    assert alone == today[:20]
    tomorrow = answers(timeline.on(TOMORROW), questions)
    changed = np.mean([one["useful"] != other["useful"] for one, other in zip(today, tomorrow, strict=True)])
    assert changed > 0.5


def test_another_seed_slips_elsewhere(world: World) -> None:
    other = replace(world, plan=replace(PLAN, seed=8))
    users, tracks = np.repeat(np.arange(1000, dtype=np.int32), SHOWN), any_tracks().astype(np.int32).ravel()
    assert (said_useful(world, users, tracks) != said_useful(other, users, tracks)).mean() > SLIPS


def test_answers_stand_in_the_order_of_the_questions(world: World) -> None:
    users, tracks = world.listeners.id.tolist(), world.tracks.id.tolist()
    questions = [
        Shown(users[5], tracks[:3]),
        Shown(users[2], []),
        Shown(users[9], tracks[7:8]),
        Shown(users[5], tracks),
    ]
    said = answers(world, questions)
    assert [(entry["user_id"], len(entry["useful"])) for entry in said] == [
        (users[5], 3),
        (users[2], 0),
        (users[9], 1),
        (users[5], 2000),
    ]
    assert said[0]["useful"] == said[3]["useful"][:3]
    assert answers(world, []) == []


def test_old_lists_please_those_whose_taste_shifted_no_more(timeline: Timeline) -> None:
    shifting = timeline.under(replace(PLAN, taste_shift_day=TODAY, taste_shift=0.5))
    best = best_tracks(timeline.base)
    before, after = shifting.on(TODAY), shifting.on(TOMORROW)
    users = np.arange(PLAN.users)
    shifted = (before.listeners.tastes[users] != after.listeners.tastes[users]).any(axis=1)
    useful = [np.array([entry["useful"] for entry in answers(day, shown(day, best))]) for day in (before, after)]
    assert useful[0][shifted].mean() > 0.9
    assert useful[1][shifted].mean() < 0.5
    assert useful[1][~shifted].mean() > 0.9
    assert useful_share(after, best_tracks(after)) > 0.9


@pytest.mark.parametrize(
    ("question", "words"),
    [
        ((-1, [0]), "no user has the id -1"),
        ((ID_SPACE + 7, [0]), "no user has the id 99999996"),
        ((2**63 - 1, [0]), "no user has the id 9223372036854775807"),
        ((None, [4, -5, -6]), "no track has the id 4"),
    ],
)
def test_the_first_unknown_id_is_named(world: World, question: tuple[int | None, list[int]], words: str) -> None:
    user = world.listeners.id[0].item()
    known = Shown(user, world.tracks.id[:2].tolist())
    with pytest.raises(UnknownId, match=f"^{words}$"):
        answers(world, [known, Shown(question[0] or user, question[1] if question[0] is None else [])])


def test_who_is_yet_to_come_is_unknown_and_what_was_removed_is_not() -> None:
    timeline = Timeline(replace(PLAN, removals=0.05))
    later = timeline.on(TODAY + dt.timedelta(days=5))
    newest = later.listeners.id[-1].item()
    removed = later.tracks.id[~later.tracks.listed][:1].tolist()
    assert answers(later, [Shown(newest, removed)])[0]["user_id"] == newest
    earlier = timeline.on(TODAY - dt.timedelta(days=300))
    unborn = earlier.listeners.id[~earlier.listeners.listed][0].item()
    for day, unknown in ((timeline.on(TODAY), newest), (earlier, unborn)):
        with pytest.raises(UnknownId):
            answers(day, [Shown(unknown, [])])


@pytest.mark.parametrize("kind", [1, 2])
def test_rows_are_found_by_their_public_ids(kind: int) -> None:
    rows = np.array([0, 1, 2, 999, ID_SPACE - 1])
    ids = np.array([public_ids(row, 1, 7, kind)[0] for row in rows.tolist()], np.int64)
    assert (rows_of(ids, 7, kind) == rows).all()
    assert (rows_of(np.array([0, -3, ID_SPACE + 1, 2**63 - 1]), 7, kind) == ID_SPACE).all()


def test_a_thousand_listeners_answer_at_once(world: World) -> None:
    questions = shown(world, any_tracks())
    seconds = []
    for _ in range(5):
        began = time.perf_counter()
        answers(world, questions)
        seconds.append(time.perf_counter() - began)
    assert min(seconds) < 0.1
