"""Letting a blocked batch in: who, why, and which failures. It holds for the failures of one audit, and never again."""

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

# As expectations.rules.figure writes it.
_FIGURE = re.compile(r"(-?[\d,]+(?:\.\d+)?(?:e[+-]?\d+)?)(?: (?:%|[a-z]+))?")


@dataclass(frozen=True)
class ReviewedFailure:
    """What an audit found of one expectation: how many rows break it, or the figure as people read it."""

    count: int | None
    observed: str | None

    def has_worsened(self, now: ExpectationResult) -> bool:
        """Whether it is worse now. Where nobody can tell what is worse, whatever differs is."""
        if self.count is not None and now.unexpected_count is not None:
            return now.unexpected_count > self.count
        before, after = _figure(self.observed), _figure(now.observed_value)
        if now.beyond is None or before is None or after is None:
            return self.observed != now.observed_value
        return after > before if now.beyond == "above" else after < before


@dataclass(frozen=True)
class Acceptance:
    """Why a batch is to be let in, who says so, and what was known to fail when they said it."""

    reason: str
    accepted_by: str
    reviewed: Mapping[str, ReviewedFailure]

    def refusal(self, results: Sequence[ExpectationResult]) -> str | None:
        """Why it cannot be let in, as one line; None when it can."""
        never = [one.expectation for one in results if one.blocks and one.structural]
        if never:
            return f"cannot be accepted: the warehouse would not hold together ({', '.join(never)})"
        unseen = [one.expectation for one in results if one.blocks and one.expectation not in self.reviewed]
        if unseen:
            return f"not accepted: {', '.join(unseen)} failed only now; read what was found, then accept it again"
        worse = [
            f"{one.expectation} was {seen.observed} when it was read, and is {one.observed_value} now"
            for one in results
            if one.blocks and (seen := self.reviewed[one.expectation]).has_worsened(one)
        ]
        return f"not accepted: {'; '.join(worse)}; read it, then accept it again" if worse else None

    def summary(self, results: Sequence[ExpectationResult]) -> str:
        """What the ledger is told, as one line."""
        waived = ", ".join(one.expectation for one in results if one.blocks)
        return f"accepted although {waived} failed, by {self.accepted_by}: {self.reason}"


def load_acceptance(connection: Connection, batch: Batch, reason: str | None, accepted_by: str | None) -> Acceptance:
    """What somebody asks for, and what the last audit of the batch found. Raises UsageError, DatabaseError."""
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
    """Record it, in the transaction that publishes the batch."""
    waived = [
        {
            "expectation": one.expectation,
            "column": one.column,
            "description": one.description,
            "observed": one.observed_value,
            "rows": one.unexpected_count,
        }
        for one in results
        if one.blocks
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
    found = _FIGURE.fullmatch(observed or "")
    return float(found[1].replace(",", "")) if found else None
