"""The scenario of `make demo`: the runs in order, and the expected result of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Literal

from core.endpoints import LISTEN_HISTORY, TRACKS, USERS, Endpoint
from demo.environment import DemoError

_ALL_PUBLISHED: dict[Endpoint, str] = {TRACKS: "published", USERS: "published", LISTEN_HISTORY: "published"}


@dataclass(frozen=True)
class FollowUpFlow:
    """The flow that runs after an ingest, and whether the model it publishes must be personal."""

    flow: Literal["recommend", "retrain"]
    title: str
    personal: bool


@dataclass(frozen=True)
class ScenarioStep:
    """One run of the ingest: its day, the faults of the API, and the expected status of each batch."""

    day: date
    title: str
    faults: list[dict[str, Any]] = field(default_factory=list)
    expected: dict[Endpoint, str] = field(default_factory=lambda: dict(_ALL_PUBLISHED))
    follow_up: FollowUpFlow | None = None


FIRST_DAY = date(2026, 11, 16)
SCENARIO = (
    ScenarioStep(
        FIRST_DAY,
        "first day: every row is new",
        follow_up=FollowUpFlow("recommend", "recommendations from popularity: no model is trained yet", personal=False),
    ),
    ScenarioStep(
        date(2026, 11, 17),
        "unreliable API: a tenth of the responses is an error or cut off",
        faults=[{"error_share": 0.07, "truncate_share": 0.03}],
    ),
    ScenarioStep(
        date(2026, 11, 18),
        "bad day: the API lists only half of the tracks",
        faults=[{"endpoint": "tracks", "half": True}],
        expected={TRACKS: "blocked", USERS: "published", LISTEN_HISTORY: "blocked"},
    ),
    ScenarioStep(date(2026, 11, 18), "same day again: the API is repaired"),
    ScenarioStep(
        date(2026, 11, 19),
        "a few malformed rows among good rows",
        faults=[
            {"endpoint": "users", "bad_rows": {"id_null": 2, "date_impossible": 1}},
            {"endpoint": "listen_history", "bad_rows": {"user_unknown": 2, "items_unknown": 3, "record_text": 1}},
        ],
        follow_up=FollowUpFlow("retrain", "model search: the best model must beat popularity", personal=True),
    ),
)


def check_batches(statuses: dict[str, str], steps: Sequence[ScenarioStep] = SCENARIO) -> None:
    """Raises DemoError that names each batch with another status than these steps expect."""
    expected: dict[str, str] = {}
    for step in steps:
        for endpoint, status in step.expected.items():
            batch_id = f"{endpoint}-{step.day}"
            if batch_id not in expected:
                expected[batch_id] = status
            elif expected[batch_id] != status:  # a blocked batch is fetched again as revision 2
                expected[f"{batch_id}-r2"] = status
    differences = [
        f"{batch_id} is {statuses.get(batch_id, 'missing')}, expected {expected.get(batch_id, 'missing')}"
        for batch_id in sorted(expected.keys() | statuses.keys())
        if statuses.get(batch_id) != expected.get(batch_id)
    ]
    if differences:
        raise DemoError("unexpected result: " + "; ".join(differences))


def check_models(models: Sequence[str]) -> None:
    """Raises DemoError if the published models are not of the kinds that the scenario expects."""
    expected = [step.follow_up.personal for step in SCENARIO if step.follow_up]
    if [not model.startswith("popularity") for model in models] != expected:
        raise DemoError(f"unexpected result: the published models are {', '.join(models) or 'none'}")
