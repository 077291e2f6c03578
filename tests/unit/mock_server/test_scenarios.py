"""Scenarios: tastes and catalogue that shift, an afternoon that is listed late, and nothing else that changes."""

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
def quiet() -> Timeline:
    return Timeline(PLAN)


def after(days: int, day: dt.date = SHIFT_DAY) -> dt.date:
    return day + dt.timedelta(days=days)


def shifted_catalogue(share: float) -> SimulationPlan:
    return replace(PLAN, catalogue_shift_day=SHIFT_DAY, catalogue_shift=share)


def with_outage(day: dt.date) -> SimulationPlan:
    return replace(PLAN, outage_day=day)


def pages(state: DayState) -> dict[str, list[Record]]:
    return {endpoint: records(state, endpoint, 0, state.total(endpoint)) for endpoint in ENDPOINTS}


# --- as JSON -----------------------------------------------------------------------------------------------------


def test_scenarios_come_and_go_as_json() -> None:
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


@pytest.mark.parametrize("nothing", [{}, NO_SCENARIOS, {"outage": None}])
def test_what_is_not_named_does_not_happen(nothing: dict[str, Any]) -> None:
    eventful = with_scenarios(PLAN, {"taste_shift": {"day": "2026-12-01", "share": 1}, "outage": {"day": "2026-12-03"}})
    assert with_scenarios(eventful, nothing) == PLAN
    assert as_json(PLAN) == NO_SCENARIOS


SENSELESS = [
    ([], "an object"),
    ({"tast_shift": None}, "'tast_shift'; there are taste_shift, catalogue_shift, outage"),
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
    ({"catalogue_shift": {"day": "2026-12-01", "share": 1}}, "catalogue_shift: share must lie between 0 and 1"),
    ({"catalogue_shift": {"day": "2026-12-01", "share": 0}}, "catalogue_shift: share must lie between 0 and 1"),
]


@pytest.mark.parametrize(("content", "words"), SENSELESS)
def test_senseless_scenarios_are_refused_with_a_reason(content: Any, words: str) -> None:
    with pytest.raises(InvalidScenario) as refused:
        with_scenarios(PLAN, content)
    assert words in str(refused.value)


# --- tastes ------------------------------------------------------------------------------------------------------


def test_listeners_whose_tastes_shift_state_the_same_genre(quiet: Timeline) -> None:
    shifting = quiet.under(replace(PLAN, taste_shift_day=SHIFT_DAY, taste_shift=1.0))
    before, now = (shifting.on(day).users for day in (SHIFT_DAY, after(1)))
    old = np.arange(PLAN.users)
    assert (before.tastes[old] != now.tastes[old]).any(axis=1).mean() > 0.99
    assert (before.genre[old] == now.genre[old]).all()


# --- the catalogue -----------------------------------------------------------------------------------------------


def hits(state: DayState, quiet: DayState) -> np.ndarray:
    """Rows of the tracks that the shift brought: of its day, one in ten of the base day's."""
    count = PLAN.tracks // 10
    first = len(quiet.tracks)
    assert state.tracks.created[first : first + count].min() >= midnight(SHIFT_DAY)
    return np.arange(first, first + count)


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_new_tracks_take_their_share_of_draws_and_plays(quiet: Timeline, share: float) -> None:
    before = quiet.on(SHIFT_DAY)
    timeline = quiet.under(shifted_catalogue(share))
    state = timeline.on(after(1))
    new = hits(state, before)
    drawn = state.pools.draw(np.zeros(50_000, np.int32), np.random.default_rng(1))
    assert np.isin(drawn, new).mean() == pytest.approx(share, abs=0.02)
    fresh = timeline.on(after(3)).sessions
    played = np.isin(fresh.plays[fresh.created >= midnight(SHIFT_DAY)], new).mean()
    assert share - 0.09 < played < share + 0.02


def test_new_tracks_are_unheard_of_before_their_day_and_listed_after_it(quiet: Timeline) -> None:
    timeline = quiet.under(shifted_catalogue(0.5))
    assert pages(timeline.on(SHIFT_DAY)) == pages(quiet.on(SHIFT_DAY))
    more = timeline.on(after(1)).total("tracks") - quiet.on(after(1)).total("tracks")
    assert more == PLAN.tracks // 10
    moments = [row["created_at"].date() for row in pages(timeline.on(after(1)))["tracks"][-more:]]
    assert set(moments) == {SHIFT_DAY}


def test_a_shifted_catalogue_is_the_same_however_one_got_there(quiet: Timeline) -> None:
    wandering = quiet.under(shifted_catalogue(0.5))
    for day in (after(6), TODAY - dt.timedelta(days=9), after(1)):
        wandering.on(day)
    assert pages(wandering.on(after(3))) == pages(Timeline(shifted_catalogue(0.5)).on(after(3)))


def test_the_smallest_catalogue_shifts_too() -> None:
    plan = SimulationPlan(7, PLAN.start, TODAY, 3, 3, 30, catalogue_shift_day=TODAY, catalogue_shift=0.5, growth=0.0)
    assert len(Timeline(plan).on(after(1, TODAY)).tracks) == 4


# --- the outage --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("day", [SHIFT_DAY, TODAY, TODAY - dt.timedelta(days=100)])
def test_an_afternoon_is_missing_the_day_after_and_nothing_else(quiet: Timeline, day: dt.date) -> None:
    noon = dt.datetime.combine(day, dt.time(12))
    whole = pages(quiet.on(after(1, day)))
    listed = pages(quiet.under(with_outage(day)).on(after(1, day)))
    late = [row for row in whole["listen_history"] if row["created_at"] >= noon]
    assert len(late) > 0
    assert listed["listen_history"] == [row for row in whole["listen_history"] if row["created_at"] < noon]
    assert (listed["tracks"], listed["users"]) == (whole["tracks"], whole["users"])


def test_on_all_other_days_an_outage_leaves_no_trace(quiet: Timeline) -> None:
    timeline = quiet.under(with_outage(SHIFT_DAY))
    for days in (1, 0, -30, 2, 1, 5):
        same = pages(timeline.on(after(days))) == pages(quiet.on(after(days)))
        assert same is (days != 1)


def test_half_a_day_is_missing(quiet: Timeline) -> None:
    totals = [
        timeline.on(after(1)).total("listen_history") for timeline in (quiet, quiet.under(with_outage(SHIFT_DAY)))
    ]
    new = (quiet.on(after(1)).sessions.created >= midnight(SHIFT_DAY)).sum()
    assert 0.45 < (totals[0] - totals[1]) / new < 0.55


# --- changing them -----------------------------------------------------------------------------------------------


def test_a_timeline_under_another_plan_is_that_plans_own(quiet: Timeline) -> None:
    eventful = replace(shifted_catalogue(0.5), taste_shift_day=TODAY, taste_shift=0.5, outage_day=after(3))
    changed = quiet.under(shifted_catalogue(0.2)).under(eventful)
    assert pages(changed.on(after(4))) == pages(Timeline(eventful).on(after(4)))
    assert pages(changed.under(PLAN).on(after(4))) == pages(quiet.on(after(4)))


def test_worlds_know_the_whole_day_even_when_they_show_half_of_it(quiet: Timeline) -> None:
    shown = quiet.under(with_outage(SHIFT_DAY))
    next_day = next_state(quiet.on(after(1)))
    shown.on(after(1))
    assert pages(shown.on(after(2))) == pages(next_day)
