"""How one rule is written down, so that suites read as lists: a name, what it says in plain words, whether it blocks.

A rule is an ordinary Great Expectations expectation. Its `meta` carries our name for it (`rule`), what was measured
(`measure`, `unit`), whether the warehouse itself stands on it (`structural`), and, for a rule about single rows, the
SQL file that finds their keys.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, TypeVar

from great_expectations import expectations as gxe
from great_expectations.expectations.expectation import Expectation
from great_expectations.expectations.metadata_types import FailureSeverity
from psycopg import sql

from core.audits import Severity
from core.endpoints import ENDPOINTS, Endpoint
from core.queries import Part, compose_query
from expectations.thresholds import Thresholds

AnyExpectation = TypeVar("AnyExpectation", bound=Expectation)
Unit = Literal["share", "rows", "days"]
# What no reason can waive: without it, rows could not be keyed, dated or referred to.
STRUCTURAL: Mapping[str, Any] = {"structural": True}
KEEPS_OUT: Mapping[str, str] = {"critical": "Blocks", "warning": "Warns"}


class ExpectNoSuchRows(gxe.UnexpectedRowsExpectation):
    """A query over the batch finds no rows. They are counted in the database and never fetched."""

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
    says: str,
    *,
    meta: Mapping[str, Any] | None = None,
    **kwargs: Any,
) -> AnyExpectation:
    """One expectation. `name` is unique within its table; `says` is the sentence people read."""
    return kind(
        severity=FailureSeverity(severity),
        description=f"{KEEPS_OUT[severity]}: {says}",
        meta={"rule": name, "says": says, **(meta or {})},
        **kwargs,
    )


def no_rows(
    name: str,
    severity: Severity,
    says: str,
    query: str,
    *,
    meta: Mapping[str, Any] | None = None,
    **parts: Part | float,
) -> ExpectNoSuchRows:
    """The query finds no rows. It selects the keys of those that break the rule.

    Its `{batch}` is the staged table, which the auditor fills in. `parts` replace its other placeholders as in
    `compose_query`; numbers are limits.
    """
    composables = {key: sql.Literal(part) if isinstance(part, int | float) else part for key, part in parts.items()}
    composed = compose_query(query, batch=sql.SQL("{batch}"), **composables)
    return rule(ExpectNoSuchRows, name, severity, says, meta=meta, unexpected_rows_query=composed.as_string())


def at_most(
    name: str,
    severity: Severity,
    column: str,
    limit: float,
    *,
    measure: str,
    unit: Unit,
    says: str,
    structural: bool = False,
) -> gxe.ExpectColumnValuesToBeBetween:
    """A figure of the profile is not above `limit`. A null figure passes: there was nothing to compare with."""
    meta = {"measure": measure, "unit": unit, "limit": limit, "beyond": "above", "structural": structural}
    return rule(gxe.ExpectColumnValuesToBeBetween, name, severity, says, meta=meta, column=column, max_value=limit)


def at_least(
    name: str, severity: Severity, column: str, limit: float, *, measure: str, unit: Unit, says: str
) -> gxe.ExpectColumnValuesToBeBetween:
    """A figure of the profile is not below `limit`. A null figure passes: there was nothing to compare with."""
    meta = {"measure": measure, "unit": unit, "limit": limit, "beyond": "below"}
    return rule(gxe.ExpectColumnValuesToBeBetween, name, severity, says, meta=meta, column=column, min_value=limit)


def figure(value: float | None, unit: Unit) -> str:
    """A figure as people read it: 0.042 of unit share is `4.2 %`."""
    if value is None:
        return "nothing to compare with"
    if unit == "share":
        return f"{100 * value:.4g} %"
    return f"{value:,.0f}" if unit == "rows" else f"{value:.4g} {unit}"


def timestamps_are_possible(endpoint: Endpoint) -> ExpectNoSuchRows:
    """Both timestamps lie in times a computer can have recorded: a month partition is made for nothing else."""
    return no_rows(
        "timestamps_are_possible",
        "critical",
        "created_at and updated_at lie between 1970 and 2200",
        "audit/staged_rows.find_impossible_timestamps",
        meta=STRUCTURAL,
        keys=sql.SQL(", ").join(map(sql.Identifier, ENDPOINTS[endpoint].key)),
    )


def dimension_rules(
    endpoint: Endpoint, thresholds: Thresholds, profile_table: str, must_say: Sequence[str]
) -> list[Expectation]:
    """What tracks and users have in common. A batch in which the `must_say` columns go blank has lost them."""
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
                f"at most {figure(thresholds.max_blank_share, 'share')} of the list arrived with a blank {column}",
                "audit/staged_rows.find_blank_values",
                column=column,
                profile=("staging", profile_table),
                limit=thresholds.max_blank_share,
            )
            for column in must_say
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
    """What `rule` noted down about an expectation."""
    return expectation.meta or {}
