"""Simulated days: the data depends only on plan and day, and rows are added, changed and removed."""

import datetime as dt

import numpy as np
import pytest

from mock_server.day_state import ENDPOINTS, DayState, SimulationPlan, midnight
from mock_server.records import records
from mock_server.timeline import DayOutOfRange, Timeline
from mock_server.users import true_scores

TODAY = dt.date(2026, 11, 22)
TOMORROW = TODAY + dt.timedelta(days=1)
PLAN = SimulationPlan(7, dt.date(2025, 5, 23), TODAY, users=2000, tracks=2000, sessions=4000, removals=0.005)


def endpoint_pages(state: DayState) -> dict[str, list[dict]]:
    return {endpoint: records(state, endpoint, 0, state.total(endpoint)) for endpoint in ENDPOINTS}


def by_key(rows: list[dict]) -> dict:
    return {row.get("id", (row.get("user_id"), row["created_at"])): row for row in rows}


def test_data_does_not_depend_on_earlier_requests() -> None:
    later = TODAY + dt.timedelta(days=5)
    fresh, visited = Timeline(PLAN), Timeline(PLAN)
    for day in (TODAY + dt.timedelta(days=9), TODAY - dt.timedelta(days=100), TOMORROW):
        visited.state_on(day)
    assert endpoint_pages(visited.state_on(later)) == endpoint_pages(fresh.state_on(later))
    assert endpoint_pages(visited.state_on(TODAY)) == endpoint_pages(Timeline(PLAN).base)


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_each_day_adds_changes_and_removes_rows(endpoint: str) -> None:
    timeline = Timeline(PLAN)
    before, after = (
        by_key(endpoint_pages(timeline.state_on(TODAY))[endpoint]),
        by_key(endpoint_pages(timeline.state_on(TOMORROW))[endpoint]),
    )
    new, removed = after.keys() - before.keys(), before.keys() - after.keys()
    changed = {key for key in before.keys() & after.keys() if before[key] != after[key]}
    assert new and removed and changed
    day = dt.datetime(2026, 11, 22)
    assert all(day <= after[key]["created_at"] < day + dt.timedelta(days=1) for key in new)
    assert all(day <= after[key]["updated_at"] < day + dt.timedelta(days=1) for key in changed)


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_order_is_stable_and_new_rows_are_at_the_end(endpoint: str) -> None:
    timeline = Timeline(PLAN)
    before = list(by_key(endpoint_pages(timeline.state_on(TODAY))[endpoint]))
    after = list(by_key(endpoint_pages(timeline.state_on(TOMORROW))[endpoint]))
    common = set(before) & set(after)
    assert after[: len(common)] == [key for key in before if key in common]


@pytest.mark.parametrize("days", [-400, -30, 30])
def test_no_row_is_an_orphan_or_in_the_future(days: int) -> None:
    day = TODAY + dt.timedelta(days=days)
    state = Timeline(PLAN).state_on(day)
    rows = endpoint_pages(state)
    users, tracks = ({row["id"] for row in rows[endpoint]} for endpoint in ("users", "tracks"))
    now = dt.datetime(1970, 1, 1) + dt.timedelta(microseconds=midnight(day))
    assert all(row["user_id"] in users and tracks.issuperset(row["items"]) for row in rows["listen_history"])
    assert all(max(row["created_at"], row["updated_at"]) < now for table in rows.values() for row in table)
    assert len(rows["listen_history"]) > 0


def test_earlier_days_have_fewer_rows() -> None:
    timeline = Timeline(PLAN)
    totals = [len(timeline.state_on(TODAY - dt.timedelta(days=days)).sessions) for days in (400, 200, 0)]
    assert totals == sorted(totals)


def test_tastes_change_only_in_a_taste_shift() -> None:
    shifting = SimulationPlan(**vars(PLAN) | {"taste_shift_day": TODAY, "taste_shift": 0.5})
    users = np.arange(200)
    before, after = (Timeline(plan).state_on(TOMORROW).users.tastes[users] for plan in (PLAN, shifting))
    assert (Timeline(PLAN).base.users.tastes[users] == before).all()
    assert 0.3 < (before != after).any(axis=1).mean() < 0.7


def test_removed_tracks_have_score_zero() -> None:
    state = Timeline(PLAN).state_on(TODAY + dt.timedelta(days=30))
    scores = true_scores(state.users, state.pools, np.arange(20))
    assert not state.tracks.listed.all()
    assert (scores[:, ~state.tracks.listed] == 0).all()


@pytest.mark.parametrize("day", [PLAN.start, TODAY + dt.timedelta(days=5000)])
def test_days_out_of_range_are_refused(day: dt.date) -> None:
    with pytest.raises(DayOutOfRange):
        Timeline(PLAN).state_on(day)
