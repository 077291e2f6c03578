"""Page data of a healthy system, for tests to change."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

from serving.dashboard.health_status import ENDPOINTS
from serving.dashboard.page_data import (
    ActiveCounts,
    AuditedDay,
    BatchSummary,
    DecisionRecord,
    DriftAlarm,
    EndpointStatus,
    LastRun,
    LivePublication,
    NewestPublication,
    PageData,
    QualityMetric,
    TaskCost,
    last_days,
)

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
TODAY, YESTERDAY = NOW.date(), NOW.date() - timedelta(days=1)
NIGHT = datetime(2026, 11, 22, 3, tzinfo=UTC)


def endpoint(name: str, published: date | None = TODAY, status: str = "published", **changes: Any) -> EndpointStatus:
    """An endpoint with its last published day and a batch of today."""
    return EndpointStatus(name, published, NIGHT, f"{name}-{TODAY}", TODAY, status, None, NIGHT, NIGHT, **changes)


def healthy(**changes: Any) -> PageData:
    """One healthy day, with these changes."""
    cost = TaskCost(1, "ingest", NIGHT, "audit", 2.5, 1.25, 400.0, 0)
    data = PageData(
        days=last_days(NOW),
        watched="ndcg@20",
        endpoints=[endpoint(name) for name in ENDPOINTS],
        batches=[BatchSummary(name, TODAY, f"{name}-{TODAY}", "published", 1000, 0, 0, 0, False) for name in ENDPOINTS],
        task_costs=[cost, replace(cost, run_id=2, flow="recommend", peak_memory_mb=None)],
        last_runs=[LastRun(1, "ingest", TODAY, NIGHT, NIGHT, "published")],
        expectations_by_day=[AuditedDay(TODAY, 80, 0, 0)],
        quality=[QualityMetric("ndcg@20", YESTERDAY, 0.18, 250, 0.15, 0.21, 1, True)],
        live_publications=[LivePublication(1, 1, NIGHT, "refreshed", "als", 1, 90, 1800, 50)],
        newest_publication=[NewestPublication(1, "published", NIGHT, None)],
        decisions=[DecisionRecord("day", YESTERDAY, "steady", "fell by 0.0", NIGHT)],
        active_counts=[ActiveCounts(100, 200)],
    )
    return replace(data, **changes)


def alarm(answer: str | None = None) -> DriftAlarm:
    """An alarm of yesterday."""
    return DriftAlarm(1, "ndcg@20", YESTERDAY, 0.08, 0.18, 1, NIGHT, answer, NIGHT if answer else None, None)
