"""All panels of the health page."""

from __future__ import annotations

from serving.dashboard.cost_panels import costs_of_runs, seconds_of_steps
from serving.dashboard.ingest_panels import failing_expectations, rejected_rows, rows_in
from serving.dashboard.page_data import PageData
from serving.dashboard.panel import Panel
from serving.dashboard.quality_panels import coverage, quality


def make_panels(data: PageData) -> list[Panel]:
    """All panels in page order: ingestion and cost, then quality and durations."""
    return [
        rows_in(data),
        rejected_rows(data),
        failing_expectations(data),
        costs_of_runs(data),
        *quality(data),
        coverage(data),
        seconds_of_steps(data),
    ]
