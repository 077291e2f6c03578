"""Scenarios: events on chosen days, parsed from JSON into a simulation plan."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import replace
from typing import Any

from mock_server.dates import parse_day
from mock_server.day_state import SimulationPlan
from mock_server.timeline import last_day

NO_SCENARIOS: dict[str, Any] = {"taste_shift": None, "catalogue_shift": None, "outage": None}
"""All scenarios, none of them set."""


class InvalidScenario(ValueError):
    """A scenario is unknown, or its day or share is invalid."""


def as_json(plan: SimulationPlan) -> dict[str, Any]:
    """The plan's scenarios in the JSON form of the control endpoint; null for a scenario that is not set."""
    return {
        "taste_shift": _shift_as_json(plan.taste_shift_day, plan.taste_shift),
        "catalogue_shift": _shift_as_json(plan.catalogue_shift_day, plan.catalogue_shift),
        "outage": plan.outage_day and {"day": str(plan.outage_day)},
    }


def with_scenarios(plan: SimulationPlan, content: Any) -> SimulationPlan:
    """The plan with exactly these scenarios. Raises InvalidScenario."""
    if not isinstance(content, dict):
        raise InvalidScenario('scenarios must be an object like {"outage": {"day": "2026-12-03"}}')
    for name in content:
        if name not in NO_SCENARIOS:
            raise InvalidScenario(f"unknown scenario {name!r}; the scenarios are {', '.join(NO_SCENARIOS)}")
    requested = NO_SCENARIOS | content
    taste_day, taste_shift = _shift("taste_shift", requested["taste_shift"], plan)
    catalogue_day, catalogue_shift = _shift("catalogue_shift", requested["catalogue_shift"], plan)
    if catalogue_day and not 0 < catalogue_shift < 1:
        raise InvalidScenario(f"catalogue_shift: share must be above 0 and below 1, not {catalogue_shift}")
    return replace(
        plan,
        taste_shift_day=taste_day,
        taste_shift=taste_shift,
        catalogue_shift_day=catalogue_day,
        catalogue_shift=catalogue_shift,
        outage_day=_outage(requested["outage"], plan),
    )


def _shift_as_json(day: dt.date | None, share: float) -> dict[str, Any] | None:
    return {"day": str(day), "share": share} if day else None


def _shift(name: str, requested: Any, plan: SimulationPlan) -> tuple[dt.date | None, float]:
    """The day and the share of a shift; None and 0 if it is not requested."""
    if requested is None:
        return None, 0.0
    _check_fields(name, requested, {"day": "2026-12-01", "share": 0.5})
    share = requested["share"]
    if type(share) not in (int, float) or not 0 <= share <= 1:
        raise InvalidScenario(f"{name}: share must be a number from 0 to 1, not {share!r}")
    return _day(name, requested["day"], "base_day", plan), float(share)


def _outage(requested: Any, plan: SimulationPlan) -> dt.date | None:
    if requested is None:
        return None
    _check_fields("outage", requested, {"day": "2026-12-03"})
    return _day("outage", requested["day"], "start", plan)


def _check_fields(name: str, requested: Any, example: dict[str, Any]) -> None:
    if not isinstance(requested, dict) or set(requested) != set(example):
        raise InvalidScenario(f"{name} must be null or like {json.dumps(example)}, not {json.dumps(requested)}")


def _day(name: str, text: Any, earliest: str, plan: SimulationPlan) -> dt.date:
    """Parse a day. It must be between the plan's `earliest` day and the day before the last possible one."""
    first, last = getattr(plan, earliest), last_day(plan) - dt.timedelta(days=1)
    try:
        day = parse_day(text)
    except (TypeError, ValueError) as error:
        raise InvalidScenario(f"{name}: {text!r} is not a day like 2026-12-01") from error
    if not first <= day <= last:
        raise InvalidScenario(f"{name}: {day} is not a day from {first} ({earliest}) to {last}")
    return day
