"""Builders for the rules of a suite. Each rule has a name, a requirement in plain words, and a severity.

A rule is an ordinary Great Expectations expectation. Its `meta` holds the name (`rule`), the requirement, the measured
figure (`measure`, `unit`, `limit`, `failed_side`), and whether the warehouse depends on the rule (`structural`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, TypeVar

from psycopg import sql

from core.audits import LearnedRange, Severity
from core.endpoints import ENDPOINTS, Endpoint
from core.queries import Part, compose_query
from expectations.gx import Expectation, FailureSeverity, gxe
from expectations.thresholds import Thresholds

AnyExpectation = TypeVar("AnyExpectation", bound=Expectation)
Unit = Literal["share", "rows", "days"]
# Nobody can accept a batch that fails such a rule: its rows would have no usable key, date or reference.
STRUCTURAL: Mapping[str, Any] = {"structural": True}
_EFFECTS: Mapping[str, str] = {"critical": "Blocks", "warning": "Warns"}


class ExpectNoSuchRows(gxe.UnexpectedRowsExpectation):
    """A query over the batch finds no rows. The database counts the rows; none is fetched."""

    metric_dependencies: ClassVar[tuple[str, ...]] = ("unexpected_rows_query.row_count",)

    def _validate(
        self, metrics: dict[str, Any], runtime_configuration: Any = None, execution_engine: Any = None
    ) -> dict[str, Any]:
        count = metrics["unexpected_rows_query.row_count"]
        return {"success": count == 0, "result": {"observed_value": count}}


def rule(
    kind: type[AnyExpectation],
    name: str,
    severity: Severity,
    requirement: str,
    *,
    meta: Mapping[str, Any] | None = None,
    **kwargs: Any,
) -> AnyExpectation:
    """One expectation. `name` is unique within its suite; `requirement` is the sentence that people read."""
    return kind(
        severity=FailureSeverity(severity),
        description=f"{_EFFECTS[severity]}: {requirement}",
        meta={"rule": name, "requirement": requirement, **(meta or {})},
        **kwargs,
    )


def no_rows(
    name: str,
    severity: Severity,
    requirement: str,
    query: str,
    *,
    meta: Mapping[str, Any] | None = None,
    **parts: Part | float,
) -> ExpectNoSuchRows:
    """A rule that a query finds no rows. The query selects the keys of rows that break the rule.

    The auditor replaces `{batch}` with the staged table. `parts` replace the other placeholders, as in
    `compose_query`; numbers are limits.
    """
    composables = {key: sql.Literal(part) if isinstance(part, int | float) else part for key, part in parts.items()}
    composed = compose_query(query, batch=sql.SQL("{batch}"), **composables)
    return rule(ExpectNoSuchRows, name, severity, requirement, meta=meta, unexpected_rows_query=composed.as_string())


def at_most(
    name: str,
    severity: Severity,
    column: str,
    limit: float,
    *,
    measure: str,
    unit: Unit,
    requirement: str,
    structural: bool = False,
) -> gxe.ExpectColumnValuesToBeBetween:
    """A figure of the profile is not above `limit`. A null figure passes: nothing could be compared."""
    meta = {"measure": measure, "unit": unit, "limit": limit, "failed_side": "above", "structural": structural}
    return rule(
        gxe.ExpectColumnValuesToBeBetween, name, severity, requirement, meta=meta, column=column, max_value=limit
    )


def at_least(
    name: str, severity: Severity, column: str, limit: float, *, measure: str, unit: Unit, requirement: str
) -> gxe.ExpectColumnValuesToBeBetween:
    """A figure of the profile is not below `limit`. A null figure passes: nothing could be compared."""
    meta = {"measure": measure, "unit": unit, "limit": limit, "failed_side": "below"}
    return rule(
        gxe.ExpectColumnValuesToBeBetween, name, severity, requirement, meta=meta, column=column, min_value=limit
    )


def as_usual(learned_range: LearnedRange, severity: Severity) -> gxe.ExpectColumnValuesToBeBetween:
    """A figure of the profile is in the range that the days before make normal. A null figure passes."""
    return rule(
        gxe.ExpectColumnValuesToBeBetween,
        learned_range.figure,
        severity,
        learned_range.requirement,
        meta={"observed": learned_range.observed, "sentence": learned_range.description},
        column=learned_range.figure,
        min_value=learned_range.lower,
        max_value=learned_range.upper,
    )


def figure(value: float | None, unit: Unit) -> str:
    """The figure as text: 0.042 of unit share becomes `4.2 %`."""
    if value is None:
        return "nothing to compare with"
    if unit == "share":
        return f"{100 * value:.4g} %"
    return f"{value:,.0f}" if unit == "rows" else f"{value:.4g} {unit}"


def timestamps_are_possible(endpoint: Endpoint) -> ExpectNoSuchRows:
    """Both timestamps lie between 1970 and 2200. Each month outside would get a partition of its own."""
    return no_rows(
        "timestamps_are_possible",
        "critical",
        "created_at and updated_at lie between 1970 and 2200",
        "audit/staged_rows.find_impossible_timestamps",
        meta=STRUCTURAL,
        keys=sql.SQL(", ").join(map(sql.Identifier, ENDPOINTS[endpoint].key)),
    )


def dimension_rules(
    endpoint: Endpoint, thresholds: Thresholds, profile_table: str, required_texts: Sequence[str]
) -> list[Expectation]:
    """Rules that tracks and users share. If too many values of a `required_texts` column are blank, the batch fails."""
    return [
        rule(
            gxe.ExpectColumnValuesToNotBeNull,
            "id_is_given",
            "critical",
            "a row has an id",
            meta=STRUCTURAL,
            column="id",
        ),
        rule(
            gxe.ExpectColumnValuesToBeBetween,
            "id_is_not_negative",
            "critical",
            "an id is not negative",
            meta=STRUCTURAL,
            column="id",
            min_value=0,
        ),
        no_rows(
            "id_is_unique", "critical", "an id comes once", "audit/staged_rows.find_duplicate_ids", meta=STRUCTURAL
        ),
        timestamps_are_possible(endpoint),
        *(
            no_rows(
                f"{column}_is_not_lost",
                "critical",
                f"at most {figure(thresholds.max_blank_share, 'share')} of the snapshot has a blank {column}",
                "audit/staged_rows.find_blank_values",
                column=column,
                profile=("staging", profile_table),
                limit=thresholds.max_blank_share,
            )
            for column in required_texts
        ),
        *(
            rule(
                gxe.ExpectColumnValuesToMatchRegex,
                f"{column}_is_not_blank",
                "warning",
                f"{column} is not blank",
                column=column,
                regex=r"\S",
            )
            for column in ENDPOINTS[endpoint].texts
        ),
        *(
            rule(
                gxe.ExpectColumnValueLengthsToBeBetween,
                f"{column}_is_not_endless",
                "warning",
                f"{column} has at most {thresholds.warn_text_length:,} characters",
                column=column,
                max_value=thresholds.warn_text_length,
            )
            for column in ENDPOINTS[endpoint].texts
        ),
    ]


def meta_of(expectation: Expectation) -> Mapping[str, Any]:
    """The `meta` that `rule` gave an expectation."""
    return expectation.meta or {}
