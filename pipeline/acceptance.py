"""Acceptance of a blocked batch by a person. It covers the failures of one audit, and no later failures."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from psycopg.types.json import Jsonb

from core.audits import ExpectationResult
from core.database import Connection, readable_errors
from core.queries import load_query
from core.reasons import check_reason
from pipeline.batches import Batch

# The format of `expectations.rules.figure`.
_FIGURE = re.compile(r"(-?[\d,]+(?:\.\d+)?(?:e[+-]?\d+)?)(?: (?:%|[a-z]+))?")


@dataclass(frozen=True)
class ReviewedFailure:
    """A failed expectation that a person reviewed: the number of rows that break it, or the observed figure."""

    count: int | None
    observed: str | None

    def has_worsened(self, result: ExpectationResult) -> bool:
        """Whether the new result is worse. If the two cannot be ordered, any difference counts as worse."""
        if self.count is not None and result.unexpected_count is not None:
            return result.unexpected_count > self.count
        reviewed, current = _figure(self.observed), _figure(result.observed_value)
        if result.failed_side is None or reviewed is None or current is None:
            return self.observed != result.observed_value
        return current > reviewed if result.failed_side == "above" else current < reviewed


@dataclass(frozen=True)
class Acceptance:
    """The reason for accepting a batch, the person who accepts it, and the failures that they reviewed."""

    reason: str
    accepted_by: str
    reviewed: Mapping[str, ReviewedFailure]

    def refusal(self, results: Sequence[ExpectationResult]) -> str | None:
        """Why the batch cannot be accepted, as one line. None if it can."""
        blocking = [result for result in results if result.blocks]
        structural = [result.expectation for result in blocking if result.structural]
        if structural:
            return f"cannot be accepted: the warehouse would be inconsistent ({', '.join(structural)})"
        unreviewed = [result.expectation for result in blocking if result.expectation not in self.reviewed]
        if unreviewed:
            return f"not accepted: {', '.join(unreviewed)} failed for the first time; review it, then accept again"
        worse = [
            f"{result.expectation} was {failure.observed} at the review, and is {result.observed_value} now"
            for result in blocking
            if (failure := self.reviewed[result.expectation]).has_worsened(result)
        ]
        return f"not accepted: {'; '.join(worse)}; review it, then accept again" if worse else None

    def summary(self, results: Sequence[ExpectationResult]) -> str:
        """The acceptance as one line, for the ledger."""
        waived = ", ".join(result.expectation for result in results if result.blocks)
        return f"accepted although {waived} failed, by {self.accepted_by}: {self.reason}"


def load_acceptance(connection: Connection, batch: Batch, reason: str | None, accepted_by: str | None) -> Acceptance:
    """The acceptance that a person requests, with the failures of the last audit. Raises UsageError, DatabaseError."""
    reason, accepted_by = check_reason(reason, "--accept"), check_reason(accepted_by, "--by")
    with readable_errors():
        rows = connection.execute(
            load_query("ops/audit_results.find_critical_failures"), {"batch_id": batch.batch_id}
        ).fetchall()
    return Acceptance(reason, accepted_by, {name: ReviewedFailure(count, observed) for name, count, observed in rows})


def record_acceptance(
    connection: Connection,
    batch: Batch,
    run_id: int,
    acceptance: Acceptance,
    results: Sequence[ExpectationResult],
    now: datetime,
) -> None:
    """Record the acceptance, in the transaction that publishes the batch."""
    waived = [
        {
            "expectation": result.expectation,
            "column": result.column,
            "description": result.description,
            "observed": result.observed_value,
            "rows": result.unexpected_count,
        }
        for result in results
        if result.blocks
    ]
    connection.execute(
        load_query("ops/audit_results.insert_acceptance"),
        {
            "batch_id": batch.batch_id,
            "run_id": run_id,
            "reason": acceptance.reason,
            "accepted_by": acceptance.accepted_by,
            "accepted_at": now,
            "waived": Jsonb(waived),
        },
    )


def _figure(observed: str | None) -> float | None:
    match = _FIGURE.fullmatch(observed or "")
    return float(match[1].replace(",", "")) if match else None
