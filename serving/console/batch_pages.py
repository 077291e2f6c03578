"""Pages about batches: the list of days, and one batch with its audit and rejected rows."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

from starlette.responses import Response

from core.endpoints import ENDPOINTS
from serving.console.console_request import ConsolePageMissing, ConsoleRequest
from serving.console.rendering import PREFIX, number, period
from serving.dashboard.page_data import latest_today

_DAYS = 14
_STATUSES = ("published", "unchanged", "blocked", "failed", "staged", "landed")
_COUNTS = {
    "Reported by the API": "rows_reported",
    "Rows landed": "rows_landed",
    "Rejected": "rows_rejected",
    "Of erased users": "rows_erased",
    "Duplicates": "rows_duplicate",
    "Older versions": "rows_superseded",
    "Conflicting": "rows_conflicting",
    "Unchanged": "rows_unchanged",
    "New or changed": "rows_staged",
    "Inserted": "rows_inserted",
    "Updated": "rows_updated",
    "Removed": "rows_removed",
    "Rejected plays": "plays_rejected",
}


async def show_batches(request: ConsoleRequest) -> Response:
    """Two weeks of batches."""
    today = latest_today(request.now)
    endpoint, status = request.parameter("endpoint", tuple(ENDPOINTS)), request.parameter("status", _STATUSES)
    last = request.day("until") or today
    first = last - timedelta(_DAYS - 1)
    data = await request.read(
        {"batches": "batches.find_batches", "earliest": "batches.find_earliest_day"},
        first_day=first,
        last_day=last,
        endpoint=endpoint or None,
        status=status or None,
    )

    def address(until: Any) -> str:
        return f"{PREFIX}/batches?{urlencode({'endpoint': endpoint, 'status': status, 'until': until})}"

    earliest = data["earliest"][0]["day"]
    return request.page(
        "batches.html",
        "batches",
        "Batches",
        batches=data["batches"],
        endpoints=tuple(ENDPOINTS),
        statuses=_STATUSES,
        endpoint=endpoint,
        selected_status=status,
        first_day=first,
        last_day=last,
        days=_DAYS,
        earliest=earliest,
        earlier=address(first - timedelta(1)) if earliest and earliest < first else "",
        later=address(last + timedelta(_DAYS)) if last < today else "",
    )


async def show_batch(request: ConsoleRequest) -> Response:
    """One batch. Raises ConsolePageMissing."""
    batch_id = request.path_text("batch_id")
    data = await request.read(
        {
            "batch": "batches.find_batch",
            "results": "batches.find_results_of_batch",
            "keys": "batches.find_keys_of_batch",
            "rejected": "batches.count_rejected_rows",
            "figures": "batches.find_figures_of_batch",
            "runs": "batches.find_runs_of_batch",
            "acceptances": "batches.find_acceptances_of_batch",
            "revisions": "batches.find_revisions",
        },
        batch_id=batch_id,
    )
    if not data["batch"]:
        raise ConsolePageMissing("No batch has this id. A batch id looks like tracks-2026-11-22.")
    batch, results = data["batch"][0], data["results"]
    facts = [(name, number(batch[column])) for name, column in _COUNTS.items() if batch[column] or "landed" in name]
    facts += [("Took", period(batch["started_at"], batch["finished_at"])), ("Source", batch["source"])]
    return request.page(
        "batch.html",
        "batches",
        batch_id,
        batch=batch,
        facts=facts,
        results=results,
        failures=[result for result in results if not result["success"]],
        passed=[result for result in results if result["success"]],
        keys_of={(keys["expectation"], keys["column"]): keys for keys in data["keys"]},
        rejected=data["rejected"],
        figures=data["figures"],
        runs=data["runs"],
        acceptances=data["acceptances"],
        revisions=data["revisions"],
    )
