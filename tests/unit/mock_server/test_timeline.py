"""Days that pass: a world depends on plan and day only, and changes by rows added, changed and removed."""

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


def keyed(rows: list[dict]) -> dict:
    return {row.get("id", (row.get("user_id"), row["created_at"])): row for row in rows}


def test_any_way_to_a_day_gives_the_same_world() -> None:
    later = TODAY + dt.timedelta(days=5)
    straight, wandering = Timeline(PLAN), Timeline(PLAN)
    for day in (TODAY + dt.timedelta(days=9), TODAY - dt.timedelta(days=100), TOMORROW):
        wandering.on(day)
    assert endpoint_pages(wandering.on(later)) == endpoint_pages(straight.on(later))
    assert endpoint_pages(wandering.on(TODAY)) == endpoint_pages(Timeline(PLAN).base)


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_a_day_adds_changes_and_removes_rows(endpoint: str) -> None:
    timeline = Timeline(PLAN)
    before, after = (
        keyed(endpoint_pages(timeline.on(TODAY))[endpoint]),
        keyed(endpoint_pages(timeline.on(TOMORROW))[endpoint]),
    )
    new, gone = after.keys() - before.keys(), before.keys() - after.keys()
    changed = {key for key in before.keys() & after.keys() if before[key] != after[key]}
    assert new and gone and changed
    day = dt.datetime(2026, 11, 22)
    assert all(day <= after[key]["created_at"] < day + dt.timedelta(days=1) for key in new)
    assert all(day <= after[key]["updated_at"] < day + dt.timedelta(days=1) for key in changed)


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_order_lasts_and_new_rows_stand_at_the_end(endpoint: str) -> None:
    timeline = Timeline(PLAN)
    before = list(keyed(endpoint_pages(timeline.on(TODAY))[endpoint]))
    after = list(keyed(endpoint_pages(timeline.on(TOMORROW))[endpoint]))
    kept = set(before) & set(after)
    assert after[: len(kept)] == [key for key in before if key in kept]


@pytest.mark.parametrize("days", [-400, -30, 30])
def test_no_orphans_and_nothing_from_the_future(days: int) -> None:
    day = TODAY + dt.timedelta(days=days)
    state = Timeline(PLAN).on(day)
    rows = endpoint_pages(state)
    users, tracks = ({row["id"] for row in rows[endpoint]} for endpoint in ("users", "tracks"))
    now = dt.datetime(1970, 1, 1) + dt.timedelta(microseconds=midnight(day))
    assert all(row["user_id"] in users and tracks.issuperset(row["items"]) for row in rows["listen_history"])
    assert all(max(row["created_at"], row["updated_at"]) < now for table in rows.values() for row in table)
    assert len(rows["listen_history"]) > 0


def test_earlier_days_have_fewer_rows() -> None:
    timeline = Timeline(PLAN)
    totals = [len(timeline.on(TODAY - dt.timedelta(days=back)).sessions) for back in (400, 200, 0)]
    assert totals == sorted(totals)


def test_tastes_last_unless_they_shift() -> None:
    shifting = SimulationPlan(**vars(PLAN) | {"taste_shift_day": TODAY, "taste_shift": 0.5})
    users = np.arange(200)
    before, after = (Timeline(plan).on(TOMORROW).users.tastes[users] for plan in (PLAN, shifting))
    assert (Timeline(PLAN).base.users.tastes[users] == before).all()
    assert 0.3 < (before != after).any(axis=1).mean() < 0.7


def test_removed_tracks_are_no_longer_likely() -> None:
    state = Timeline(PLAN).on(TODAY + dt.timedelta(days=30))
    scores = true_scores(state.users, state.pools, np.arange(20))
    assert not state.tracks.listed.all()
    assert (scores[:, ~state.tracks.listed] == 0).all()


@pytest.mark.parametrize("day", [PLAN.start, TODAY + dt.timedelta(days=5000)])
def test_impossible_days_are_refused(day: dt.date) -> None:
    with pytest.raises(DayOutOfRange):
        Timeline(PLAN).on(day)
