"""The way from a run in our ledger to its page in Prefect's UI."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.responses import RedirectResponse, Response

from serving.console.console_request import ConsolePageMissing, ConsoleRequest
from serving.console.deployment_runs import DeploymentRuns


def run_opener(runs: DeploymentRuns) -> Callable[[ConsoleRequest], Awaitable[Response]]:
    """Return a page function that leads to Prefect's page of a run, or to its list of runs if it is not found."""

    async def open_run(request: ConsoleRequest) -> Response:
        found = await request.read({"run": "batches.find_run"}, run_id=request.path_id("run_id", "run"))
        if not found["run"] or not request.links.prefect:
            raise ConsolePageMissing("No run has this number, or PREFECT_UI_URL is not set.")
        run = found["run"][0]
        flow_run_id = await runs.find(run["flow"], run["started_at"]) if runs.is_configured else None
        address = request.links.run(flow_run_id) if flow_run_id else f"{request.links.prefect}/runs"
        return RedirectResponse(address or request.links.prefect, 303)

    return open_run
