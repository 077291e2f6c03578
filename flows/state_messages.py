"""The result of each run in one line: the log of each task, and the message of the final state of a flow.

The page of the run shows both, and so does `prefect deployment run --watch`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import wraps
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast

from prefect import get_run_logger
from prefect.client.schemas.objects import State
from prefect.context import FlowRunContext, TaskRunContext
from prefect.states import Completed

from core.audits import AuditReport, ExpectationResult
from flows.run import BatchResult

if TYPE_CHECKING:  # importing it takes a third of a second: it imports all models
    from recommender.publishing.scoring import PublishedRecommendations

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def _says_more(record: logging.LogRecord) -> bool:
    """Whether a record is not the last line of a task that completed, which repeats its status without a figure."""
    return record.getMessage() != "Finished in state Completed()"


logging.getLogger("prefect.task_runs").addFilter(_says_more)


def ends_with(
    describe: Callable[[Any], str],
) -> Callable[[Callable[Parameters, Result]], Callable[Parameters, Result]]:
    """Describe the result of a run that completes: in the log of a task, in the final state of a flow.

    Place it below `@flow` or `@task`. The caller gets the result. The state of a failure, which `handle_failures`
    returns, stays as it is.
    """

    def decorate(body: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
        @wraps(body)
        def described_body(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
            result = body(*args, **kwargs)
            if isinstance(result, State):
                return result
            if TaskRunContext.get() is not None:
                get_run_logger().info(describe(result))
            elif FlowRunContext.get() is not None:
                return cast(Result, Completed(message=describe(result), data=result))
            return result

        return described_body

    return decorate


def describe_batches(outcomes: Sequence[BatchResult]) -> str:
    """Describe each batch in a few words, such as `tracks-2026-11-22 published (12 rows changed)`."""
    return ", ".join(_describe_batch(outcome) for outcome in outcomes) or "no endpoint"


def describe_audit(report: AuditReport) -> str:
    """Describe how many expectations failed."""
    return describe_results(report.results)


def describe_results(results: Sequence[ExpectationResult]) -> str:
    """Describe how many expectations failed."""
    blocking = sum(result.blocks for result in results)
    warnings = sum(not result.success for result in results) - blocking
    return f"{len(results)} expectations, {blocking} critical failures, {warnings} warnings"


def describe_publication(published: PublishedRecommendations) -> str:
    """Describe the size of a publication and its model."""
    return (
        f"publication {published.publication_id}: {published.rows:,} recommendations for {published.users:,} users by "
        f"{published.model} (model run {published.model_run_id}), {published.tracks_covered:,} different tracks"
    )


def describe_counts(counts: dict[str, int]) -> str:
    """Describe each count that is not 0, such as `3 landings, 12 data docs pages`."""
    return ", ".join(f"{count:,} {kind.replace('_', ' ')}" for kind, count in counts.items() if count) or "nothing"


def _describe_batch(outcome: BatchResult) -> str:
    counts = outcome.counts
    if outcome.published_earlier:
        return f"{outcome.batch.batch_id} {outcome.status} by an earlier run"
    changed = counts.rows_inserted + counts.rows_updated + counts.rows_removed
    return f"{outcome.batch.batch_id} {outcome.status}" + (f" ({changed:,} rows changed)" if changed else "")
