"""What an audit says, in a form that both the auditor and the ledger know."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Severity = Literal["critical", "warning"]
Beyond = Literal["above", "below"]


@dataclass(frozen=True)
class ExpectationResult:
    """One expectation, judged on one batch. Counts are of rows, a share is of 1. No values of personal columns.

    `structural`: what fails it would not hold together in the warehouse, and nobody can let it in. `beyond`: on which
    side of its limit the observed figure is bad, where it is one figure.
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
        """Whether this result alone keeps the batch out of the warehouse."""
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
