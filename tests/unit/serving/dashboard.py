"""Figures of a system that is well, for tests to spoil."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

from serving.dashboard.figures import (
    Alarm,
    Audience,
    Batch,
    Decision,
    Endpoint,
    Figures,
    JudgedDay,
    LastRun,
    Live,
    NewestLists,
    TaskCost,
    Value,
    last_days,
)
from serving.dashboard.verdict import ENDPOINTS

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
TODAY, YESTERDAY = NOW.date(), NOW.date() - timedelta(days=1)
NIGHT = datetime(2026, 11, 22, 3, tzinfo=UTC)


def endpoint(name: str, published: date | None = TODAY, status: str = "published", **other: Any) -> Endpoint:
    """An endpoint that is published up to a day, with its newest batch of today."""
    return Endpoint(name, published, NIGHT, f"{name}-{TODAY}", TODAY, status, None, NIGHT, NIGHT, **other)


def healthy(**other: Any) -> Figures:
    """One day of history, all of it well."""
    cost = TaskCost(1, "ingest", NIGHT, "audit", 2.5, 1.25, 400.0, 0)
    well = Figures(
        days=last_days(NOW),
        watched="ndcg@20",
        endpoints=[endpoint(name) for name in ENDPOINTS],
        batches=[Batch(name, TODAY, f"{name}-{TODAY}", "published", 1000, 0, 0, 0, False) for name in ENDPOINTS],
        task_costs=[cost, replace(cost, run_id=2, flow="recommend", peak_memory_mb=None)],
        last_runs=[LastRun(1, "ingest", TODAY, NIGHT, NIGHT, "published")],
        expectations_by_day=[JudgedDay(TODAY, 80, 0, 0)],
        quality=[Value("ndcg@20", YESTERDAY, 0.18, 250, 0.15, 0.21, 1, True)],
        live=[Live(1, 1, NIGHT, "refreshed", "als", 1, 90, 1800, 50)],
        newest_lists=[NewestLists(1, "published", NIGHT, None)],
        decisions=[Decision(1, "day", YESTERDAY, "steady", "fell by 0.0", None, NIGHT)],
        audience=[Audience(100, 200)],
    )
    return replace(well, **other)


def alarm(answer: str | None = None) -> Alarm:
    """Of yesterday."""
    return Alarm(1, "ndcg@20", YESTERDAY, 0.08, 0.18, 1, NIGHT, answer, NIGHT if answer else None, None)
