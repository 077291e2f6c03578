"""Results of an audit. The auditor creates them and the ledger stores them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Severity = Literal["critical", "warning"]
Beyond = Literal["above", "below"]


@dataclass(frozen=True)
class ExpectationResult:
    """The result of one expectation on one batch. It holds no values of personal columns.

    `unexpected_count` is a number of rows, `unexpected_share` a fraction from 0 to 1. A batch that fails a `structural`
    expectation cannot be accepted. If the expectation checks a single number, `beyond` says whether it fails above or
    below the limit.
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
    beyond: Beyond | None = None

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
