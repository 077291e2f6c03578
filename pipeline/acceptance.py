"""Letting a blocked batch in: who, why, and which failures. It holds for the failures of one audit, and never again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from psycopg.types.json import Jsonb

from core.audits import ExpectationResult
from core.database import Connection, readable_errors, statement
from core.references import written_reason
from pipeline.batches import Batch


@dataclass(frozen=True)
class Acceptance:
    """Why a batch is to be let in, who says so, and what was known to fail when they said it."""

    reason: str
    accepted_by: str
    seen: frozenset[str]

    def refusal(self, results: Sequence[ExpectationResult]) -> str | None:
        """Why it cannot be let in, as one line; None when it can."""
        never = [one.expectation for one in results if one.blocks and one.structural]
        if never:
            return f"cannot be accepted: the warehouse would not hold together ({', '.join(never)})"
        unseen = [one.expectation for one in results if one.blocks and one.expectation not in self.seen]
        if unseen:
            return f"not accepted: {', '.join(unseen)} failed only now; read what was found, then accept it again"
        return None

    def words(self, results: Sequence[ExpectationResult]) -> str:
        """What the ledger is told, as one line."""
        waived = ", ".join(one.expectation for one in results if one.blocks)
        return f"accepted although {waived} failed, by {self.accepted_by}: {self.reason}"


def acceptance_of(connection: Connection, batch: Batch, reason: str | None, accepted_by: str | None) -> Acceptance:
    """What somebody asks for, and what the last audit of the batch found. Raises SettingsError, DatabaseError."""
    reason, accepted_by = written_reason(reason, "--accept"), written_reason(accepted_by, "--by")
    with readable_errors():
        rows = connection.execute(statement("ops/failures_seen"), {"batch_id": batch.batch_id}).fetchall()
    return Acceptance(reason, accepted_by, frozenset(name for (name,) in rows))


def write_down(
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
        statement("ops/insert_acceptance"),
        {
            "batch_id": batch.batch_id,
            "run_id": run_id,
            "reason": acceptance.reason,
            "accepted_by": acceptance.accepted_by,
            "accepted_at": now,
            "waived": Jsonb(waived),
        },
    )
