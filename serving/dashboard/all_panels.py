"""All figures of the page."""

from __future__ import annotations

from serving.dashboard.cost_panels import costs_of_runs, seconds_of_steps
from serving.dashboard.ingest_panels import failing_expectations, rejected_rows, rows_in
from serving.dashboard.page_data import PageData
from serving.dashboard.panel import Panel
from serving.dashboard.quality_panels import coverage, quality


def make_panels(data: PageData) -> list[Panel]:
    """In the order of the page: what came in and what that cost, then how good it was and how long it took."""
    return [
        rows_in(data),
        rejected_rows(data),
        failing_expectations(data),
        costs_of_runs(data),
        *quality(data),
        coverage(data),
        seconds_of_steps(data),
    ]
