"""Runs the suite of a table on a staged batch, in the database.

The first validation only tells which rules fail. The failed rules are validated again, for counts and keys. No values
of rows are fetched, stored or shown. A rule that cannot be evaluated counts as a critical failure.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from types import ModuleType
from typing import Any, Self

import psycopg
from psycopg import sql
from psycopg.rows import dict_row
from sqlalchemy.exc import SQLAlchemyError

from core.audits import AuditTarget, ExpectationResult, Severity
from core.clock import Clock
from core.database import SQLALCHEMY_URL, Connection, connect, readable_errors
from core.endpoints import (
    FRESH_RECOMMENDATIONS,
    LISTEN_HISTORY,
    RECOMMENDATIONS,
    STREAMED_SESSIONS,
    TRACKS,
    USERS,
    AuditedTable,
    audited_key,
)
from core.errors import DatabaseError, ObjectStoreError
from core.file_store import FileStore
from core.sessions import open_connection
from core.tracebacks import record_and_summarize
from expectations import (
    data_docs,
    fresh_recommendations,
    listen_history,
    recommendations,
    streamed_sessions,
    tracks,
    users,
)
from expectations.gx import (
    BatchDefinition,
    DataContextConfig,
    Expectation,
    ExpectationConfiguration,
    ExpectationSuite,
    ExpectationSuiteValidationResult,
    ExpectationValidationResult,
    FailureSeverity,
    GreatExpectationsError,
    InMemoryStoreBackendDefaults,
    PostgresDatasource,
    ProgressBarsConfig,
    RunIdentifier,
    TestConnectionError,
    gx,
)
from expectations.rules import as_usual, figure
from expectations.thresholds import Thresholds

SUITES: Mapping[AuditedTable, ModuleType] = {
    TRACKS: tracks,
    USERS: users,
    LISTEN_HISTORY: listen_history,
    RECOMMENDATIONS: recommendations,
    STREAMED_SESSIONS: streamed_sessions,
    FRESH_RECOMMENDATIONS: fresh_recommendations,
}
_SETTINGS = {"work_mem": "256MB"}
_LOGGER = logging.getLogger(__name__)
_SQL_ERROR = re.compile(r"psycopg\.errors\.([A-Za-z]+)")


class Auditor:
    """Audits the batches of one run with the same connections. It is a context manager, for one thread at a time.

    Great Expectations keeps its state in memory. Two auditors share only the folder of Data Docs.
    """

    def __init__(
        self,
        *,
        url: str,
        thresholds: Thresholds,
        docs: FileStore,
        clock: Clock,
        max_failing_keys: int = 1_000,
        serving_url: str = "",
    ) -> None:
        self._url = url
        self._clock = clock
        self._thresholds = thresholds
        self._docs = docs
        self._max_failing_keys = max_failing_keys
        self._serving_url = serving_url
        self._audits = 0
        self._context = gx.get_context(
            mode="ephemeral",
            project_config=DataContextConfig(
                store_backend_defaults=InMemoryStoreBackendDefaults(init_temp_docs_sites=False),
                progress_bars=ProgressBarsConfig(globally=False),
                analytics_enabled=False,
            ),
        )
        options = {
            "creator": lambda: open_connection(
                url, autocommit=False, settings=_SETTINGS, connect_timeout=10, application_name="moovitamix-audit"
            )
        }
        with _readable_failures():
            self._source: PostgresDatasource = self._context.data_sources.add_postgres(
                "staging",
                connection_string=SQLALCHEMY_URL,
                kwargs=options,  # type: ignore[call-arg]
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._source.get_engine().dispose()
        self._source.get_execution_engine().engine.dispose()  # a second engine

    def audit(self, staged: AuditTarget) -> list[ExpectationResult]:
        """Audit one staged batch, and write its page of Data Docs. A second audit replaces the page.

        It does not write to the database. Raises DatabaseError if Postgres cannot be reached or a table is missing.
        """
        audited_at = self._clock()
        suite = SUITES[staged.endpoint]
        rules = suite.row_expectations(self._thresholds, staged.profile_table)
        learned_rules = [as_usual(learned, self._thresholds.unusual_figures) for learned in staged.learned_ranges]
        profile_rules = [*suite.profile_expectations(self._thresholds), *learned_rules]
        with _readable_failures(), connect(self._url) as connection:
            table = self._batch_definition(staged.rows_table)
            row_validation, profile_validation = self._validate(
                RunIdentifier(staged.batch_id, audited_at),
                (table, rules),
                (self._batch_definition(staged.profile_table), profile_rules),
            )
            row_results = _with_details(row_validation, table, rules, audited_key(staged.endpoint))
            keys_of = _FailingKeys(connection, staged.rows_table, audited_key(staged.endpoint), self._max_failing_keys)
            profile = _profile(connection, staged.profile_table)
            results = [_result_of_rows(result, keys_of) for result in row_results]
            results += [_result_of_profile(result, profile) for result in profile_validation.results]
        merged = _merge(staged.endpoint, [*row_results, *profile_validation.results], row_validation)
        summary = data_docs.AuditSummary.from_results(
            staged.batch_id, staged.endpoint, staged.day, audited_at, results, self._serving_url
        )
        try:
            data_docs.write_page(self._docs, summary, merged)
        # A missing page must not fail an audit. The text of an error may quote a row, so it is not logged.
        except (OSError, ObjectStoreError) as error:
            _LOGGER.warning("the page of %s cannot be written (%s)", staged.batch_id, type(error).__name__)
        except Exception as error:
            _LOGGER.warning("the page of %s cannot be written: %s", staged.batch_id, record_and_summarize(error))
        return results

    def _batch_definition(self, table: str) -> BatchDefinition[Any]:
        self._audits += 1
        asset = self._source.add_table_asset(f"{table}/{self._audits}", table_name=table, schema_name="staging")
        return asset.add_batch_definition_whole_table(table)

    def _validate(
        self, run_id: RunIdentifier, *parts: tuple[BatchDefinition[Any], Sequence[Expectation]]
    ) -> list[ExpectationSuiteValidationResult]:
        """Whether each rule holds: one result for each pair of a batch and its rules."""
        validations = [
            gx.ValidationDefinition(
                name=batch.data_asset.name,
                data=batch,
                suite=self._context.suites.add(ExpectationSuite(batch.data_asset.name, expectations=list(rules))),
            )
            for batch, rules in parts
        ]
        checkpoint = gx.Checkpoint(
            name=f"{run_id.run_name}/{self._audits}",
            validation_definitions=[self._context.validation_definitions.add(validation) for validation in validations],
            result_format={"result_format": "BOOLEAN_ONLY"},
        )
        outcome = self._context.checkpoints.add(checkpoint).run(run_id=run_id)
        by_suite = {result.suite_name: result for result in outcome.run_results.values()}
        return [by_suite[validation.name] for validation in validations]


def _with_details(
    validation: ExpectationSuiteValidationResult,
    batch: BatchDefinition[Any],
    rules: Sequence[Expectation],
    keys: Sequence[str],
) -> list[ExpectationValidationResult]:
    """The results, where failed ones also have counts and the query that finds the rows."""
    failed = {_rule(result) for result in validation.results if not result.success and not _exceptions(result)}
    if not failed:
        return list(validation.results)
    failed_rules = [rule.copy(update={"id": None}) for rule in rules if rule.meta and rule.meta["rule"] in failed]
    detailed = batch.get_batch().validate(
        ExpectationSuite(name="failed", expectations=failed_rules),
        result_format={
            "result_format": "BASIC",
            "unexpected_index_column_names": list(keys),
            "return_unexpected_index_query": True,
            "exclude_unexpected_values": True,
        },
    )
    by_rule = {_rule(result): result for result in detailed.results}
    return [by_rule.get(_rule(result), result) for result in validation.results]


def _result_of_rows(result: ExpectationValidationResult, keys_of: _FailingKeys) -> ExpectationResult:
    if _exceptions(result):
        return _evaluation_failure(result)
    config, details = _config(result), result.result
    count = 0 if result.success else int(details.get("unexpected_count", details.get("observed_value")) or 0)
    percent = details.get("unexpected_percent")
    requirement, observed = config.meta["requirement"], "no row breaks it" if result.success else _rows(count, percent)
    # The page shows these. The first validation did not set them.
    details["observed_value"] = observed
    details.setdefault("unexpected_percent", 0.0)
    return ExpectationResult(
        expectation=_rule(result),
        column=config.kwargs.get("column"),
        severity=_severity(result),
        success=bool(result.success),
        unexpected_count=count,
        unexpected_share=None if percent is None else percent / 100,
        observed_value=observed,
        description=requirement if result.success else f"not true of {observed}: {requirement}",
        failing_keys=() if result.success else keys_of(result),
        structural=_is_structural(result),
        value=count,
        upper=0,
    )


@dataclass(frozen=True)
class _FailingKeys:
    """Finds the keys of the staged rows that fail a rule, and no other values."""

    connection: Connection
    table: str
    keys: Sequence[str]
    limit: int

    def __call__(self, result: ExpectationValidationResult) -> tuple[str, ...]:
        query = self._query(result)
        if query is None:
            return ()
        # The query selects the key columns first. A rule about a key column selects it a second time.
        names = sql.SQL(", ").join(sql.Identifier(f"key_{number}") for number, _ in enumerate(self.keys))
        limited = sql.SQL("select {names} from ({query}\n) as failing ({names}) limit {limit}").format(
            names=names, query=sql.SQL(query), limit=sql.Literal(self.limit)
        )
        try:
            rows = self.connection.execute(limited).fetchall()
        except psycopg.ProgrammingError:
            # Great Expectations writes this query for people, and Postgres may reject it. The result stays valid.
            return ()
        return tuple(" ".join(map(_key_part, row)) for row in rows)

    def _query(self, result: ExpectationValidationResult) -> str | None:
        """The query of the rule if it has one, otherwise the query of Great Expectations."""
        rule_query = _config(result).kwargs.get("unexpected_rows_query")
        if rule_query:
            return str(rule_query.format(batch=sql.Identifier("staging", self.table).as_string(self.connection)))
        index_query = result.result.get("unexpected_index_query")
        return str(index_query).rstrip("; \n") if index_query else None


def _rows(count: int, percent: float | None) -> str:
    """For example `1 row` or `42 rows, 3.1 %`."""
    return f"{count:,} row{'' if count == 1 else 's'}" + (f", {percent:.2g} %" if percent else "")


def _key_part(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _profile(connection: Connection, table: str) -> dict[str, Any]:
    query = sql.SQL("select * from {}").format(sql.Identifier("staging", table))
    return connection.cursor(row_factory=dict_row).execute(query).fetchone() or {}


def _result_of_profile(result: ExpectationValidationResult, profile: Mapping[str, Any]) -> ExpectationResult:
    if _exceptions(result):
        return _evaluation_failure(result)
    config = _config(result)
    observed, description = _observed(config.meta, config.kwargs, profile)
    result.result["observed_value"] = observed
    return ExpectationResult(
        expectation=_rule(result),
        column=config.kwargs.get("column"),
        severity=_severity(result),
        success=bool(result.success),
        unexpected_count=None,
        unexpected_share=None,
        observed_value=observed,
        description=config.meta["requirement"] if result.success else description,
        structural=_is_structural(result),
        failed_side=config.meta.get("failed_side"),
        value=_number(profile.get(str(config.kwargs.get("column")))),
        lower=_number(config.kwargs.get("min_value")),
        upper=_number(config.kwargs.get("max_value")),
    )


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float | Decimal) else None


def _observed(meta: Mapping[str, Any], kwargs: Mapping[str, Any], profile: Mapping[str, Any]) -> tuple[str, str]:
    """The observed figure, and the sentence that describes the failure."""
    if "sentence" in meta:
        return meta["observed"], meta["sentence"]
    if "measure" in meta:
        observed = figure(profile.get(kwargs["column"]), meta["unit"])
        return observed, f"{meta['measure']} {observed} is {meta['failed_side']} {figure(meta['limit'], meta['unit'])}"
    columns = [kwargs[name] for name in ("column_A", "column_B") if name in kwargs]
    observed = ", ".join(f"{column} {figure(profile.get(column), 'rows')}" for column in columns)
    return observed, f"not true: {meta['requirement']}" + (f" ({observed})" if observed else "")


def _evaluation_failure(result: ExpectationValidationResult) -> ExpectationResult:
    """The result of a rule that could not be evaluated."""
    config = _config(result)
    name = _error_name(result)
    result.exception_info = {"raised_exception": True, "exception_message": name, "exception_traceback": ""}
    return ExpectationResult(
        expectation=_rule(result),
        column=config.kwargs.get("column"),
        severity="critical",
        success=False,
        unexpected_count=None,
        unexpected_share=None,
        observed_value=None,
        description=f"the rule could not be evaluated ({name}): {config.meta['requirement']}",
        structural=True,
    )


def _exceptions(result: ExpectationValidationResult) -> list[Mapping[str, Any]]:
    info = result.exception_info or {}
    nested = [details for details in info.values() if isinstance(details, Mapping)]
    return [details for details in [info, *nested] if details.get("raised_exception")]


def _error_name(result: ExpectationValidationResult) -> str:
    """The type of the error, without its message, which may quote a value."""
    text = " ".join(str(details.get("exception_message")) for details in _exceptions(result))
    match = _SQL_ERROR.search(text)
    return match.group(1) if match else "an error"


def _config(result: ExpectationValidationResult) -> ExpectationConfiguration:
    if result.expectation_config is None:
        raise ValueError("a validation result has no expectation")
    return result.expectation_config


def _rule(result: ExpectationValidationResult) -> str:
    return str(_config(result).meta["rule"])


def _is_structural(result: ExpectationValidationResult) -> bool:
    return bool(_config(result).meta.get("structural"))


def _severity(result: ExpectationValidationResult) -> Severity:
    return "critical" if FailureSeverity(_config(result).severity) is FailureSeverity.CRITICAL else "warning"


def _merge(
    endpoint: AuditedTable,
    results: Sequence[ExpectationValidationResult],
    row_validation: ExpectationSuiteValidationResult,
) -> ExpectationSuiteValidationResult:
    """The results of rows and profile as one validation result, for the page of the batch."""
    passed = sum(bool(result.success) for result in results)
    return ExpectationSuiteValidationResult(
        success=passed == len(results),
        results=list(results),
        suite_name=endpoint,
        statistics={
            "evaluated_expectations": len(results),
            "successful_expectations": passed,
            "unsuccessful_expectations": len(results) - passed,
            "success_percent": 100 * passed / len(results),
        },
        meta=row_validation.meta,
    )


@contextmanager
def _readable_failures() -> Iterator[None]:
    """Convert errors of Great Expectations and SQLAlchemy to one line without values. Raises DatabaseError."""
    with readable_errors():
        try:
            yield
        except (GreatExpectationsError, SQLAlchemyError, TestConnectionError) as error:
            raise DatabaseError(
                f"the staged batch could not be audited ({type(error).__name__}); see the log of Postgres"
            ) from error
