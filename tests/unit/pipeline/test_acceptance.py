"""An acceptance holds for what was seen, and for nothing that is worse."""

from __future__ import annotations

from typing import Any

import pytest

from core.audits import ExpectationResult
from pipeline.acceptance import Acceptance, Seen


def result(observed: str | None, count: int | None = None, **other: Any) -> ExpectationResult:
    return ExpectationResult("a_rule", None, "critical", False, count, None, observed, "says", **other)


@pytest.mark.parametrize(
    ("seen", "now", "accepted"),
    [
        (Seen(None, "2 %"), result("50 %", beyond="above"), False),
        (Seen(None, "2 %"), result("2 %", beyond="above"), True),
        (Seen(None, "50 %"), result("2 %", beyond="above"), True),
        (Seen(None, "50 %"), result("2 %", beyond="below"), False),
        (Seen(None, "2 %"), result("50 %", beyond="below"), True),
        (Seen(None, "1,900"), result("200", beyond="below"), False),
        (Seen(None, "9 days"), result("1e+04 days", beyond="above"), False),
        (Seen(None, "rows 3, total 4"), result("rows 3, total 4"), True),
        (Seen(None, "rows 3, total 4"), result("rows 3, total 9"), False),
        (Seen(None, None), result("3 %", beyond="above"), False),
        (Seen(5, "5 rows"), result("5 rows", 5), True),
        (Seen(5, "5 rows, 3 %"), result("4 rows, 40 %", 4), True),
        (Seen(5, "5 rows"), result("6 rows", 6), False),
    ],
)
def test_only_what_is_no_worse_than_seen(seen: Seen, now: ExpectationResult, accepted: bool) -> None:
    refusal = Acceptance("known", "ticket 7", {"a_rule": seen}).refusal([now])
    assert (refusal is None) == accepted
    if refusal:
        assert f"was {seen.observed}" in refusal
        assert f"is {now.observed_value} now" in refusal
