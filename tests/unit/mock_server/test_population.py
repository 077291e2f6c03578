"""The simulated data: reproducible, with the quirks of the real server, and with tastes that models can learn."""

import datetime as dt
import re
from collections import Counter

import numpy as np
import pytest

from mock_server.day_state import ENDPOINTS, DayState, SimulationPlan, base_state, midnight
from mock_server.records import FIELDS, records
from mock_server.sessions import NO_TRACK
from mock_server.users import true_scores
from mock_server.word_lists import GENDERS, GENRES

START, TODAY = dt.date(2025, 5, 23), dt.date(2026, 11, 22)
PLAN = SimulationPlan(seed=7, start=START, base_day=TODAY, users=2000, tracks=2000, sessions=4000)


@pytest.fixture(scope="module")
def state() -> DayState:
    return base_state(PLAN)


def every_row(state: DayState, endpoint: str) -> list[dict]:
    return records(state, endpoint, 0, state.total(endpoint))


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_rows_depend_only_on_the_seed(state: DayState, endpoint: str) -> None:
    assert every_row(base_state(PLAN), endpoint) == every_row(state, endpoint)
    reseeded = base_state(SimulationPlan(seed=8, start=START, base_day=TODAY, users=2000, tracks=2000, sessions=4000))
    assert every_row(reseeded, endpoint)[0] != every_row(state, endpoint)[0]


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_rows_have_the_planned_number_fields_and_dates(state: DayState, endpoint: str) -> None:
    rows = every_row(state, endpoint)
    assert len(rows) == getattr(PLAN, "sessions" if endpoint == "listen_history" else endpoint)
    assert tuple(rows[0]) == FIELDS[endpoint]
    first, last = dt.datetime(2025, 5, 23), dt.datetime(2026, 11, 22)
    assert all(first <= row[field] < last for row in rows for field in ("created_at", "updated_at"))
    assert all(row["created_at"].microsecond for row in rows)


@pytest.mark.parametrize("endpoint", ["tracks", "users"])
def test_a_quarter_of_tracks_and_users_has_created_at_after_updated_at(state: DayState, endpoint: str) -> None:
    late = [row["created_at"] > row["updated_at"] for row in every_row(state, endpoint)]
    assert 0.22 < np.mean(late) < 0.28


def test_sessions_have_created_at_before_updated_at(state: DayState) -> None:
    assert (state.sessions.created <= state.sessions.updated).all()


def test_half_of_the_sessions_are_older_than_their_user(state: DayState) -> None:
    older = state.sessions.created < state.users.created[state.sessions.user]
    assert 0.45 < older.mean() < 0.55


def test_a_quarter_of_the_plays_are_older_than_their_track(state: DayState) -> None:
    older = state.sessions.created[:, None] < state.tracks.created[state.sessions.plays]
    assert 0.2 < older.mean() < 0.3


@pytest.mark.parametrize("seed", range(5))
def test_one_to_three_users_per_thousand_share_an_email(seed: int) -> None:
    users = every_row(base_state(SimulationPlan(seed, START, TODAY, users=1000, tracks=50, sessions=0)), "users")
    shared = [count for count in Counter(row["email"] for row in users).values() if count > 1]
    assert 1 <= len(shared) <= 3
    assert set(shared) == {2}


def test_ids_are_unique_and_neither_contiguous_nor_sorted(state: DayState) -> None:
    for endpoint in ("tracks", "users"):
        ids = [row["id"] for row in every_row(state, endpoint)]
        assert len(set(ids)) == len(ids)
        assert ids != sorted(ids)
        assert max(ids) > 10 * len(ids)


def test_session_has_five_different_listed_tracks(state: DayState) -> None:
    track_ids = {row["id"] for row in every_row(state, "tracks")}
    for row in every_row(state, "listen_history"):
        assert len(set(row["items"])) == len(row["items"]) == 5
        assert track_ids.issuperset(row["items"])


def test_sessions_are_shorter_in_a_tiny_catalogue() -> None:
    state = base_state(SimulationPlan(7, START, TODAY, users=3, tracks=3, sessions=20))
    assert (state.sessions.plays == NO_TRACK).any()
    for row in every_row(state, "listen_history"):
        assert 0 < len(set(row["items"])) == len(row["items"]) <= 3


def test_texts_have_the_values_and_formats_of_the_real_api(state: DayState) -> None:
    users = every_row(state, "users")
    assert {row["favorite_genres"] for row in users} == set(GENRES)
    assert {row["gender"] for row in users} == set(GENDERS)
    assert all(re.fullmatch(r"[a-z]+\.[a-z]+\d+@example\.(com|org|net)", row["email"]) for row in users)
    assert all(re.fullmatch(r"[0-5]\d:[0-5]\d", row["duration"]) for row in every_row(state, "tracks"))


def test_top_tenth_of_tracks_gets_over_30_percent_of_plays(state: DayState) -> None:
    plays = np.sort(np.bincount(state.sessions.plays.ravel(), minlength=PLAN.tracks))[::-1]
    assert plays[: PLAN.tracks // 10].sum() > 0.3 * plays.sum()


def test_true_scores_are_probabilities(state: DayState) -> None:
    scores = true_scores(state.users, state.pools, np.arange(50))
    assert scores.shape == (50, PLAN.tracks)
    np.testing.assert_allclose(scores.sum(axis=1), 1.0)


def test_users_play_tracks_of_high_true_score(state: DayState) -> None:
    users = np.unique(state.sessions.user)[:300]
    scores = true_scores(state.users, state.pools, users)
    is_sampled = np.isin(state.sessions.user, users)
    lines = np.searchsorted(users, state.sessions.user[is_sampled])
    own_scores = scores[lines[:, None], state.sessions.plays[is_sampled]]
    other_users_scores = scores[np.roll(lines, 1)[:, None], state.sessions.plays[is_sampled]]
    assert own_scores.mean() > 20 / PLAN.tracks
    assert own_scores.mean() > 3 * other_users_scores.mean()


def test_play_frequencies_match_true_scores() -> None:
    state = base_state(SimulationPlan(7, START, TODAY, users=1, tracks=40, sessions=4000, plays_per_session=1))
    expected = true_scores(state.users, state.pools, np.array([0]))[0]
    frequencies = np.bincount(state.sessions.plays.ravel(), minlength=40) / 4000
    np.testing.assert_allclose(frequencies, expected, atol=0.03)


def test_co_occurrence_predicts_plays_better_than_popularity() -> None:
    """Co-occurrence of tracks finds more plays of the last fifth of the sessions than popularity does."""
    state = base_state(SimulationPlan(7, START, TODAY, users=500, tracks=500, sessions=10_000))
    old = state.sessions.created < np.quantile(state.sessions.created, 0.8)
    past, future = (_played(state, part) for part in (old, ~old))
    plays = 1.0 + past.sum(axis=0)
    together = past.T @ past / np.sqrt(plays[:, None] * plays)
    assert _recall(past @ together, future) > 1.4 * _recall(np.tile(plays, (500, 1)), future)


def _played(state: DayState, part: np.ndarray) -> np.ndarray:
    played = np.zeros((state.plan.users, state.plan.tracks))
    played[state.sessions.user[part][:, None], state.sessions.plays[part]] = 1.0
    return played


def _recall(scores: np.ndarray, future: np.ndarray) -> float:
    """Share of the future plays among each user's 20 best scores."""
    best = np.argsort(-scores, axis=1)[:, :20]
    return float(np.take_along_axis(future, best, axis=1).sum() / future.sum())


def test_midnight_is_in_microseconds() -> None:
    assert midnight(dt.date(1970, 1, 2)) == 86_400_000_000
