"""An acceptance covers the reviewed failures, and no worse failures."""

from __future__ import annotations

from typing import Any

import pytest

from core.audits import ExpectationResult
from pipeline.acceptance import Acceptance, ReviewedFailure


def result(observed: str | None, count: int | None = None, **fields: Any) -> ExpectationResult:
    return ExpectationResult("a_rule", None, "critical", False, count, None, observed, "description", **fields)


@pytest.mark.parametrize(
    ("reviewed", "current", "accepted"),
    [
        (ReviewedFailure(None, "2 %"), result("50 %", failed_side="above"), False),
        (ReviewedFailure(None, "2 %"), result("2 %", failed_side="above"), True),
        (ReviewedFailure(None, "50 %"), result("2 %", failed_side="above"), True),
        (ReviewedFailure(None, "50 %"), result("2 %", failed_side="below"), False),
        (ReviewedFailure(None, "2 %"), result("50 %", failed_side="below"), True),
        (ReviewedFailure(None, "1,900"), result("200", failed_side="below"), False),
        (ReviewedFailure(None, "9 days"), result("1e+04 days", failed_side="above"), False),
        (ReviewedFailure(None, "rows 3, total 4"), result("rows 3, total 4"), True),
        (ReviewedFailure(None, "rows 3, total 4"), result("rows 3, total 9"), False),
        (ReviewedFailure(None, None), result("3 %", failed_side="above"), False),
        (ReviewedFailure(5, "5 rows"), result("5 rows", 5), True),
        (ReviewedFailure(5, "5 rows, 3 %"), result("4 rows, 40 %", 4), True),
        (ReviewedFailure(5, "5 rows"), result("6 rows", 6), False),
    ],
)
def test_a_failure_that_is_worse_than_at_the_review_is_not_accepted(
    reviewed: ReviewedFailure, current: ExpectationResult, accepted: bool
) -> None:
    refusal = Acceptance("known", "ticket 7", {"a_rule": reviewed}).refusal([current])
    assert (refusal is None) == accepted
    if refusal:
        assert f"was {reviewed.observed}" in refusal
        assert f"is {current.observed_value} now" in refusal
