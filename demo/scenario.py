"""What happens in the demo, day by day, and what must come of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from typing import Any, Literal

from core.endpoints import LISTEN_HISTORY, TRACKS, USERS, Endpoint

_ALL_PUBLISHED: dict[Endpoint, str] = {TRACKS: "published", USERS: "published", LISTEN_HISTORY: "published"}


@dataclass(frozen=True)
class FollowUpFlow:
    """What follows an ingest: a flow for recommendations, and the model that must be live after it."""

    flow: Literal["recommend", "retrain"]
    title: str
    personal: bool


@dataclass(frozen=True)
class ScenarioStep:
    """One run of the ingest: its day, what the API does meanwhile, and the states that its batches must end in."""

    day: date
    title: str
    faults: list[dict[str, Any]] = field(default_factory=list)
    expected: dict[Endpoint, str] = field(default_factory=lambda: dict(_ALL_PUBLISHED))
    then: FollowUpFlow | None = None


FIRST_DAY = date(2026, 11, 16)
SCENARIO = (
    ScenarioStep(
        FIRST_DAY,
        "the first day: everything is new",
        then=FollowUpFlow("recommend", "everyone's list, from popularity: nothing was trained yet", personal=False),
    ),
    ScenarioStep(
        date(2026, 11, 17),
        "a shaky API: every tenth answer is an error or is cut off",
        faults=[{"error_share": 0.07, "truncate_share": 0.03}],
    ),
    ScenarioStep(
        date(2026, 11, 18),
        "a bad day: the API lists only half of the tracks",
        faults=[{"endpoint": "tracks", "half": True}],
        expected={TRACKS: "blocked", USERS: "published", LISTEN_HISTORY: "blocked"},
    ),
    ScenarioStep(date(2026, 11, 18), "the same day again: the API was mended"),
    ScenarioStep(
        date(2026, 11, 19),
        "a few malformed rows among good ones",
        faults=[
            {"endpoint": "users", "bad_rows": {"id_null": 2, "date_impossible": 1}},
            {"endpoint": "listen_history", "bad_rows": {"user_unknown": 2, "items_unknown": 3, "record_text": 1}},
        ],
        then=FollowUpFlow("retrain", "models compete, and the best must beat popularity", personal=True),
    ),
)
