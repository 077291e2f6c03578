"""Scenarios: what is to happen to tastes, catalogue and listing on which day, as JSON and as part of a plan."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import replace
from typing import Any

from mock_server.dates import parse_day
from mock_server.days import last_day
from mock_server.world import Plan

QUIET: dict[str, Any] = {"taste_shift": None, "catalogue_shift": None, "outage": None}
"""Every scenario, and that none of them happens."""


class SenselessScenario(ValueError):
    """A scenario that does not exist, or whose day or share makes no sense."""


def as_json(plan: Plan) -> dict[str, Any]:
    """The plan's scenarios in the form in which they come and go; null is what does not happen."""
    return {
        "taste_shift": _shift_as_json(plan.taste_shift_day, plan.taste_shift),
        "catalogue_shift": _shift_as_json(plan.catalogue_shift_day, plan.catalogue_shift),
        "outage": plan.outage_day and {"day": str(plan.outage_day)},
    }


def with_scenarios(plan: Plan, content: Any) -> Plan:
    """The plan with the scenarios in JSON content, and no others. Raises SenselessScenario."""
    if not isinstance(content, dict):
        raise SenselessScenario('scenarios come as an object like {"outage": {"day": "2026-12-03"}}')
    for name in content:
        if name not in QUIET:
            raise SenselessScenario(f"no scenario is called {name!r}; there are {', '.join(QUIET)}")
    wished = QUIET | content
    taste_day, taste_shift = _shift("taste_shift", wished["taste_shift"], plan)
    catalogue_day, catalogue_shift = _shift("catalogue_shift", wished["catalogue_shift"], plan)
    if catalogue_day and not 0 < catalogue_shift < 1:
        raise SenselessScenario(f"catalogue_shift: share must lie between 0 and 1, and be neither: {catalogue_shift}")
    return replace(
        plan,
        taste_shift_day=taste_day,
        taste_shift=taste_shift,
        catalogue_shift_day=catalogue_day,
        catalogue_shift=catalogue_shift,
        outage_day=_outage(wished["outage"], plan),
    )


def _shift_as_json(day: dt.date | None, share: float) -> dict[str, Any] | None:
    return {"day": str(day), "share": share} if day else None


def _shift(name: str, wish: Any, plan: Plan) -> tuple[dt.date | None, float]:
    """The day and the share of a shift; no day where none is wished."""
    if wish is None:
        return None, 0.0
    _check_fields(name, wish, {"day": "2026-12-01", "share": 0.5})
    share = wish["share"]
    if type(share) not in (int, float) or not 0 <= share <= 1:
        raise SenselessScenario(f"{name}: share must be a number from 0 to 1, not {share!r}")
    return _day(name, wish["day"], "base_day", plan), float(share)


def _outage(wish: Any, plan: Plan) -> dt.date | None:
    if wish is None:
        return None
    _check_fields("outage", wish, {"day": "2026-12-03"})
    return _day("outage", wish["day"], "start", plan)


def _check_fields(name: str, wish: Any, example: dict[str, Any]) -> None:
    if not isinstance(wish, dict) or set(wish) != set(example):
        raise SenselessScenario(f"{name} must be null or like {json.dumps(example)}, not {json.dumps(wish)}")


def _day(name: str, text: Any, earliest: str, plan: Plan) -> dt.date:
    """The day in the text, from a day of the plan on and such that there is a day after it."""
    first, last = getattr(plan, earliest), last_day(plan) - dt.timedelta(days=1)
    try:
        day = parse_day(text)
    except (TypeError, ValueError) as error:
        raise SenselessScenario(f"{name}: {text!r} is not a day like 2026-12-01") from error
    if not first <= day <= last:
        raise SenselessScenario(f"{name}: {day} is not a day from {first} ({earliest}) to {last}")
    return day
