"""Results of an audit. The auditor creates them, and the ledger stores them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Literal

from core.endpoints import AuditedTable
from core.errors import BatchBlocked

Severity = Literal["critical", "warning"]
FailedSide = Literal["above", "below"]


@dataclass(frozen=True)
class ExpectationResult:
    """The result of one expectation on one batch. It holds no values of personal columns.

    `unexpected_count` is a number of rows, `unexpected_share` a fraction from 0 to 1. A batch that fails a `structural`
    expectation cannot be accepted. If the expectation checks a single number, `failed_side` says whether it fails above
    or below the limit. `value` is the measured figure, or the number of failing rows. The expectation passes if
    `lower` <= `value` <= `upper`; None means no figure, or no limit.
    """

    expectation: str
    column: str | None
    severity: Severity
    success: bool
    unexpected_count: int | None
    unexpected_share: float | None
    observed_value: str | None
    description: str
    failing_keys: tuple[str, ...] = ()
    structural: bool = False
    failed_side: FailedSide | None = None
    value: float | None = None
    lower: float | None = None
    upper: float | None = None

    @property
    def blocks(self) -> bool:
        """Whether this result alone blocks the batch."""
        return not self.success and self.severity == "critical"


@dataclass(frozen=True)
class AuditReport:
    """All audit results of one batch."""

    batch_id: str
    results: tuple[ExpectationResult, ...]

    @property
    def critical_failures(self) -> tuple[str, ...]:
        """The descriptions of the failed expectations that block the batch."""
        return tuple(result.description for result in self.results if result.blocks)

    @property
    def blocks(self) -> bool:
        """Whether the batch is blocked, unless a person accepts it."""
        return bool(self.critical_failures)


@dataclass(frozen=True)
class LearnedRange:
    """The range that is normal for a figure of a batch, learned from earlier days.

    `figure` is a column of the batch's profile. `lower` and `upper` are in its unit. `requirement` is the sentence of
    the rule, `observed` the value of this batch as text. `description` is the sentence for a value outside the range.
    """

    figure: str
    lower: float
    upper: float
    requirement: str
    observed: str
    description: str


@dataclass(frozen=True)
class AuditTarget:
    """The batch to audit: `rows_table` and `profile_table` are tables of the schema `staging`.

    The profile has one row, with the figures of the whole batch.
    """

    batch_id: str
    endpoint: AuditedTable
    day: date
    rows_table: str
    profile_table: str
    learned_ranges: tuple[LearnedRange, ...] = ()


def raise_if_blocked(batch_id: str, results: Sequence[ExpectationResult]) -> None:
    """Raises BatchBlocked if an expectation blocks the batch. The error describes every critical failure."""
    failures = [result.description for result in results if result.blocks]
    if failures:
        raise BatchBlocked(batch_id, failures, results)
