"""The suites: every rule has a name, a severity and a requirement, and none can put personal data into a report."""

from __future__ import annotations

import re
from types import ModuleType

import pytest

from core.audits import ExpectationResult, raise_if_blocked
from core.errors import BatchBlocked
from expectations import listen_history, recommendations, rule_tables, tracks, users
from expectations.checkpoint import SUITES
from expectations.gx import FailureSeverity, gxe
from expectations.rules import ExpectNoSuchRows, figure, meta_of
from expectations.thresholds import Thresholds

DEFAULTS = rule_tables._DEFAULTS
each_suite = pytest.mark.parametrize("suite", [tracks, users, listen_history])


def rules_of(suite: ModuleType) -> list[gxe.Expectation]:
    return [*suite.row_expectations(DEFAULTS, "profile"), *suite.profile_expectations(DEFAULTS)]


@each_suite
def test_every_rule_has_a_unique_name_a_severity_and_a_requirement(suite: ModuleType) -> None:
    names = [meta_of(rule)["rule"] for rule in rules_of(suite)]
    assert len(set(names)) == len(names) > 20
    for rule in rules_of(suite):
        assert re.fullmatch(r"[a-z_]+", meta_of(rule)["rule"])
        assert rule.severity in (FailureSeverity.CRITICAL, FailureSeverity.WARNING)
        word = "Blocks" if rule.severity == FailureSeverity.CRITICAL else "Warns"
        assert rule.description == f"{word}: {meta_of(rule)['requirement']}"


@each_suite
def test_no_rule_has_a_type_that_shows_values_or_crashes(suite: ModuleType) -> None:
    kinds = (
        gxe.ExpectColumnDistinctValuesToBeInSet,
        gxe.ExpectColumnMostCommonValueToBeInSet,
        gxe.ExpectColumnQuantileValuesToBeBetween,
    )
    assert not [rule for rule in rules_of(suite) if isinstance(rule, kinds)]


@each_suite
def test_queries_name_the_batch_and_do_not_join(suite: ModuleType) -> None:
    for rule in rules_of(suite):
        if isinstance(rule, ExpectNoSuchRows):
            query = str(rule.unexpected_rows_query)
            assert "{batch}" in query
            assert "join" not in query.lower()
            assert "{batch} as " not in query.lower()


def test_new_genres_genders_and_sizes_only_warn() -> None:
    severity = {meta_of(rule)["rule"]: rule.severity.value for rule in rules_of(users)}
    assert severity["favorite_genre_is_known"] == severity["gender_is_known"] == "warning"
    assert severity["list_did_not_explode"] == severity["removals_are_few"] == "warning"
    assert severity["list_did_not_collapse"] == severity["rejects_are_few"] == "critical"


def test_suite_of_users_has_17_genres() -> None:
    assert len(set(users.GENRES)) == 17


def test_every_endpoint_the_recommendations_and_the_stream_have_a_suite() -> None:
    assert set(SUITES) == {
        *("tracks", "users", "listen_history", "recommendations", "streamed_sessions", "fresh_recommendations"),
    }


def test_thresholds_reach_the_rules() -> None:
    strict = Thresholds.model_construct(**{**DEFAULTS.model_dump(), "max_rejected_share": 0.002})
    requirements = {meta_of(rule)["rule"]: meta_of(rule)["requirement"] for rule in users.profile_expectations(strict)}
    assert requirements["rejects_are_few"] == "at most 0.2 % of the rows were rejected"


def test_the_docs_list_every_rule() -> None:
    """If this fails: `python -m expectations.rule_tables --write`."""
    page = rule_tables.PAGE.read_text()
    assert page == rule_tables.with_new_tables(page)
    assert "`tracks_are_published`" in page


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [(0.042, "share", "4.2 %"), (1.5, "share", "150 %"), (12_345, "rows", "12,345"), (8.25, "days", "8.25 days")],
)
def test_figures_are_formatted_with_their_unit(value: float, unit: str, text: str) -> None:
    assert figure(value, unit) == text  # type: ignore[arg-type]


def result(severity: str, success: bool, description: str) -> ExpectationResult:
    return ExpectationResult("rule", None, severity, success, None, None, None, description)  # type: ignore[arg-type]


def test_only_failed_critical_results_block() -> None:
    raise_if_blocked("users-2026-11-22", [result("warning", False, "odd"), result("critical", True, "fine")])
    with pytest.raises(BatchBlocked) as error:
        raise_if_blocked(
            "users-2026-11-22",
            [
                result("critical", False, "rejected share 4.2 % is above 1 %"),
                result("warning", False, "odd"),
                result("critical", False, "not true of 2 rows: an id comes once"),
            ],
        )
    assert str(error.value) == (
        "users-2026-11-22 blocked: rejected share 4.2 % is above 1 %; not true of 2 rows: an id comes once"
    )


@pytest.mark.parametrize("suite", [tracks, users, listen_history, recommendations])
def test_query_with_a_join_names_its_batch(suite: ModuleType) -> None:
    """Great Expectations puts a sub-select without a name there, which PostgreSQL 15 refuses."""
    queries = [rule.unexpected_rows_query for rule in rules_of(suite) if isinstance(rule, ExpectNoSuchRows)]
    joins = [query for query in queries if re.search(r"\bjoin\b", query, re.IGNORECASE)]
    assert [query for query in joins if re.search(r"\{batch\}(?! as )", query)] == []
