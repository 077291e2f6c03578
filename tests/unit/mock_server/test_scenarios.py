"""Scenarios: shifts of tastes and catalogue, an outage of half a day, and no other change."""

import datetime as dt
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from mock_server.day_state import ENDPOINTS, DayState, SimulationPlan, midnight
from mock_server.records import Record, records
from mock_server.scenarios import NO_SCENARIOS, InvalidScenario, as_json, with_scenarios
from mock_server.timeline import Timeline, next_state

TODAY = dt.date(2026, 11, 22)
SHIFT_DAY = TODAY + dt.timedelta(days=2)
PLAN = SimulationPlan(7, dt.date(2025, 5, 23), TODAY, users=2000, tracks=2000, sessions=4000, new_sessions=0.5)


@pytest.fixture(scope="module")
def plain() -> Timeline:
    return Timeline(PLAN)


def after(days: int, day: dt.date = SHIFT_DAY) -> dt.date:
    return day + dt.timedelta(days=days)


def shifted_catalogue(share: float) -> SimulationPlan:
    return replace(PLAN, catalogue_shift_day=SHIFT_DAY, catalogue_shift=share)


def with_outage(day: dt.date) -> SimulationPlan:
    return replace(PLAN, outage_day=day)


def pages(state: DayState) -> dict[str, list[Record]]:
    return {endpoint: records(state, endpoint, 0, state.total(endpoint)) for endpoint in ENDPOINTS}


# --- JSON --------------------------------------------------------------------------------------------------------


def test_scenarios_round_trip_as_json() -> None:
    requested = {
        "taste_shift": {"day": "2026-12-01", "share": 0.5},
        "catalogue_shift": {"day": "2026-12-02", "share": 0.25},
        "outage": {"day": "2026-11-03"},
    }
    plan = with_scenarios(PLAN, requested)
    assert (plan.taste_shift_day, plan.taste_shift) == (dt.date(2026, 12, 1), 0.5)
    assert (plan.catalogue_shift_day, plan.catalogue_shift) == (dt.date(2026, 12, 2), 0.25)
    assert plan.outage_day == dt.date(2026, 11, 3)
    assert as_json(plan) == requested


@pytest.mark.parametrize("content", [{}, NO_SCENARIOS, {"outage": None}])
def test_omitted_scenarios_are_reset(content: dict[str, Any]) -> None:
    eventful = with_scenarios(PLAN, {"taste_shift": {"day": "2026-12-01", "share": 1}, "outage": {"day": "2026-12-03"}})
    assert with_scenarios(eventful, content) == PLAN
    assert as_json(PLAN) == NO_SCENARIOS


INVALID_SCENARIOS = [
    ([], "an object"),
    ({"tast_shift": None}, "'tast_shift'; the scenarios are taste_shift, catalogue_shift, outage"),
    ({"outage": "2026-12-03"}, 'outage must be null or like {"day": "2026-12-03"}'),
    ({"outage": {"day": "2026-12-03", "share": 0.5}}, "outage must be null or like"),
    ({"outage": {"day": "3 December"}}, "outage: '3 December' is not a day"),
    ({"outage": {"day": 20261203}}, "outage: 20261203 is not a day"),
    ({"outage": {"day": "20261203"}}, "outage: '20261203' is not a day"),
    ({"outage": {"day": "2026-W49-4"}}, "outage: '2026-W49-4' is not a day"),
    ({"outage": {"day": "2025-05-22"}}, "outage: 2025-05-22 is not a day from 2025-05-23 (start)"),
    ({"outage": {"day": "2099-01-01"}}, "outage: 2099-01-01 is not a day from"),
    ({"taste_shift": {"day": "2026-12-01"}}, "taste_shift must be null or like"),
    ({"taste_shift": {"day": "2026-11-21", "share": 0.5}}, "2026-11-21 is not a day from 2026-11-22 (base_day)"),
    ({"taste_shift": {"day": "2026-12-01", "share": 1.5}}, "share must be a number from 0 to 1, not 1.5"),
    ({"taste_shift": {"day": "2026-12-01", "share": True}}, "share must be a number from 0 to 1, not True"),
    ({"taste_shift": {"day": "2026-12-01", "share": float("nan")}}, "share must be a number from 0 to 1, not nan"),
    ({"catalogue_shift": {"day": "2026-11-21", "share": 0.5}}, "2026-11-21 is not a day from 2026-11-22 (base_day)"),
    ({"catalogue_shift": {"day": "2026-12-01", "share": 1}}, "catalogue_shift: share must be above 0 and below 1"),
    ({"catalogue_shift": {"day": "2026-12-01", "share": 0}}, "catalogue_shift: share must be above 0 and below 1"),
]


@pytest.mark.parametrize(("content", "words"), INVALID_SCENARIOS)
def test_invalid_scenarios_are_refused_with_a_reason(content: Any, words: str) -> None:
    with pytest.raises(InvalidScenario) as refused:
        with_scenarios(PLAN, content)
    assert words in str(refused.value)


# --- tastes ------------------------------------------------------------------------------------------------------


def test_taste_shift_keeps_the_stated_genre(plain: Timeline) -> None:
    shifting = plain.with_plan(replace(PLAN, taste_shift_day=SHIFT_DAY, taste_shift=1.0))
    before, after_shift = (shifting.state_on(day).users for day in (SHIFT_DAY, after(1)))
    rows = np.arange(PLAN.users)
    assert (before.tastes[rows] != after_shift.tastes[rows]).any(axis=1).mean() > 0.99
    assert (before.genre[rows] == after_shift.genre[rows]).all()


# --- the catalogue -----------------------------------------------------------------------------------------------


def hits(state: DayState, state_without_shift: DayState) -> np.ndarray:
    """Rows of the tracks that the shift added on its day: a tenth of the tracks of the base day."""
    count = PLAN.tracks // 10
    first = len(state_without_shift.tracks)
    assert state.tracks.created[first : first + count].min() >= midnight(SHIFT_DAY)
    return np.arange(first, first + count)


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_new_tracks_get_their_share_of_draws_and_plays(plain: Timeline, share: float) -> None:
    before = plain.state_on(SHIFT_DAY)
    timeline = plain.with_plan(shifted_catalogue(share))
    state = timeline.state_on(after(1))
    new = hits(state, before)
    drawn = state.pools.draw(np.zeros(50_000, np.int32), np.random.default_rng(1))
    assert np.isin(drawn, new).mean() == pytest.approx(share, abs=0.02)
    fresh = timeline.state_on(after(3)).sessions
    played = np.isin(fresh.plays[fresh.created >= midnight(SHIFT_DAY)], new).mean()
    assert share - 0.09 < played < share + 0.02


def test_new_tracks_are_listed_only_after_the_shift(plain: Timeline) -> None:
    timeline = plain.with_plan(shifted_catalogue(0.5))
    assert pages(timeline.state_on(SHIFT_DAY)) == pages(plain.state_on(SHIFT_DAY))
    added_tracks = timeline.state_on(after(1)).total("tracks") - plain.state_on(after(1)).total("tracks")
    assert added_tracks == PLAN.tracks // 10
    created_days = [row["created_at"].date() for row in pages(timeline.state_on(after(1)))["tracks"][-added_tracks:]]
    assert set(created_days) == {SHIFT_DAY}


def test_shifted_catalogue_does_not_depend_on_earlier_requests(plain: Timeline) -> None:
    visited = plain.with_plan(shifted_catalogue(0.5))
    for day in (after(6), TODAY - dt.timedelta(days=9), after(1)):
        visited.state_on(day)
    assert pages(visited.state_on(after(3))) == pages(Timeline(shifted_catalogue(0.5)).state_on(after(3)))


def test_smallest_catalogue_shifts() -> None:
    plan = SimulationPlan(7, PLAN.start, TODAY, 3, 3, 30, catalogue_shift_day=TODAY, catalogue_shift=0.5, growth=0.0)
    assert len(Timeline(plan).state_on(after(1, TODAY)).tracks) == 4


# --- the outage --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("day", [SHIFT_DAY, TODAY, TODAY - dt.timedelta(days=100)])
def test_outage_hides_only_the_afternoon_and_only_on_the_next_day(plain: Timeline, day: dt.date) -> None:
    noon = dt.datetime.combine(day, dt.time(12))
    whole = pages(plain.state_on(after(1, day)))
    listed = pages(plain.with_plan(with_outage(day)).state_on(after(1, day)))
    late_rows = [row for row in whole["listen_history"] if row["created_at"] >= noon]
    assert len(late_rows) > 0
    assert listed["listen_history"] == [row for row in whole["listen_history"] if row["created_at"] < noon]
    assert (listed["tracks"], listed["users"]) == (whole["tracks"], whole["users"])


def test_outage_does_not_change_other_days(plain: Timeline) -> None:
    timeline = plain.with_plan(with_outage(SHIFT_DAY))
    for days in (1, 0, -30, 2, 1, 5):
        is_same = pages(timeline.state_on(after(days))) == pages(plain.state_on(after(days)))
        assert is_same is (days != 1)


def test_outage_hides_half_of_a_days_sessions(plain: Timeline) -> None:
    totals = [
        timeline.state_on(after(1)).total("listen_history")
        for timeline in (plain, plain.with_plan(with_outage(SHIFT_DAY)))
    ]
    new = (plain.state_on(after(1)).sessions.created >= midnight(SHIFT_DAY)).sum()
    assert 0.45 < (totals[0] - totals[1]) / new < 0.55


# --- changing scenarios ------------------------------------------------------------------------------------------


def test_timeline_with_new_plan_equals_a_fresh_timeline(plain: Timeline) -> None:
    eventful = replace(shifted_catalogue(0.5), taste_shift_day=TODAY, taste_shift=0.5, outage_day=after(3))
    changed = plain.with_plan(shifted_catalogue(0.2)).with_plan(eventful)
    assert pages(changed.state_on(after(4))) == pages(Timeline(eventful).state_on(after(4)))
    assert pages(changed.with_plan(PLAN).state_on(after(4))) == pages(plain.state_on(after(4)))


def test_day_after_an_outage_builds_on_complete_data(plain: Timeline) -> None:
    timeline = plain.with_plan(with_outage(SHIFT_DAY))
    next_day = next_state(plain.state_on(after(1)))
    timeline.state_on(after(1))
    assert pages(timeline.state_on(after(2))) == pages(next_day)
