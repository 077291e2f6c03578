"""Run a table's suite over a staged batch, in the database, and say what came out.

First every rule is asked only whether it holds; what failed is asked again, for counts and keys. No values of rows
are fetched, stored or shown. A check that breaks counts as a critical failure: nothing vouches for the batch then.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any

import great_expectations as gx
from great_expectations.core import ExpectationSuite, ExpectationSuiteValidationResult, RunIdentifier
from great_expectations.core.batch_definition import BatchDefinition
from great_expectations.core.expectation_validation_result import ExpectationValidationResult
from great_expectations.data_context import EphemeralDataContext
from great_expectations.data_context.types.base import (
    DataContextConfig,
    InMemoryStoreBackendDefaults,
    ProgressBarsConfig,
)
from great_expectations.exceptions import GreatExpectationsError
from psycopg import sql
from psycopg.rows import dict_row
from sqlalchemy.exc import SQLAlchemyError

from core.audits import ExpectationResult, Severity
from core.columns import KEYS, LISTEN_HISTORY, TRACKS, USERS, Endpoint
from core.database import Connection, connect, readable_errors, sqlalchemy_url
from core.errors import BatchBlocked, DatabaseError
from expectations import data_docs, listen_history, tracks, users
from expectations.rules import figure
from expectations.thresholds import Thresholds

SUITES: Mapping[Endpoint, ModuleType] = {TRACKS: tracks, USERS: users, LISTEN_HISTORY: listen_history}
_SESSION_OPTIONS = "-c timezone=UTC -c jit=off -c work_mem=256MB"
_ERROR_NAME = re.compile(r"\b(?:psycopg\.errors|sqlalchemy\.exc|builtins)?\.?([A-Z]\w+(?:Error|Table|Column|Function|Range|Format|Value|Canceled))\b")


@dataclass(frozen=True)
class StagedBatch:
    """What is judged: two tables of the schema `staging`, one with its rows, one with its one-row profile."""

    batch_id: str
    endpoint: Endpoint
    day: date
    rows_table: str
    profile_table: str


def run_checkpoint(
    *,
    batch_id: str,
    endpoint: Endpoint,
    day: date,
    url: str,
    rows_table: str,
    profile_table: str,
    thresholds: Thresholds,
    docs_dir: Path,
) -> list[ExpectationResult]:
    """Judge one staged batch and publish its page of Data Docs. Judging it again replaces the page.

    Nothing is written to the database. Raises DatabaseError when it cannot be reached or the tables are not there.
    """
    with Auditor(url=url, thresholds=thresholds, docs_dir=docs_dir) as auditor:
        return auditor.audit(StagedBatch(batch_id, endpoint, day, rows_table, profile_table))


def raise_if_blocked(batch_id: str, results: Sequence[ExpectationResult]) -> None:
    """Raises BatchBlocked, with every critical failure in plain words, if there is one."""
    failures = [result.description for result in results if result.blocks]
    if failures:
        raise BatchBlocked(batch_id, failures)


class Auditor:
    """Judges the batches of one run: the context and the connections are made once, as making them costs more than a
    small audit does. Use as a context manager; not for several threads at once."""

    def __init__(self, *, url: str, thresholds: Thresholds, docs_dir: Path, max_failing_keys: int = 1_000) -> None:
        self._url = url
        self._thresholds = thresholds
        self._docs_dir = docs_dir
        self._max_failing_keys = max_failing_keys
        self._context = _ephemeral_context()
        options = {"connect_args": {"options": _SESSION_OPTIONS, "application_name": "moovitamix-audit"}}
        with _readable_failures():
            self._source = self._context.data_sources.add_postgres(
                "staging", connection_string=sqlalchemy_url(url), kwargs=options
            )

    def __enter__(self) -> Auditor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._source.get_engine().dispose()

    def audit(self, staged: StagedBatch) -> list[ExpectationResult]:
        """Judge one batch and publish its page. See `run_checkpoint`."""
        run_id = RunIdentifier(run_name=staged.batch_id, run_time=datetime.now(UTC))
        suite = SUITES[staged.endpoint]
        rules = {
            staged.rows_table: suite.rows(self._thresholds, staged.profile_table),
            staged.profile_table: suite.profile(self._thresholds),
        }
        with _readable_failures(), connect(self._url) as connection:
            batches = {table: self._batch_definition(table) for table in rules}
            validations = [
                self._context.validation_definitions.add_or_update(
                    gx.ValidationDefinition(
                        name=table,
                        data=batches[table],
                        suite=self._context.suites.add_or_update(
                            ExpectationSuite(name=table, expectations=expectations)
                        ),
                    )
                )
                for table, expectations in rules.items()
            ]
            checkpoint = self._context.checkpoints.add_or_update(
                gx.Checkpoint(
                    name=staged.batch_id,
                    validation_definitions=validations,
                    result_format={"result_format": "BOOLEAN_ONLY"},
                )
            )
            judged = checkpoint.run(run_id=run_id)
            by_table = {result.suite_name: result for result in judged.run_results.values()}
            rows = self._explained(by_table[staged.rows_table], batches[staged.rows_table], staged)
            profile = _profile(connection, staged.profile_table)
            results = [self._result_of_rows(one, staged, connection) for one in rows]
            results += [_result_of_profile(one, profile) for one in by_table[staged.profile_table].results]
        page = _as_one(by_table[staged.rows_table], [*rows, *by_table[staged.profile_table].results], staged)
        data_docs.publish(self._docs_dir, staged.batch_id, page)
        return results

    def _batch_definition(self, table: str) -> BatchDefinition:
        names = {asset.name for asset in self._source.assets}
        if table in names:
            self._source.delete_asset(table)
        asset = self._source.add_table_asset(table, table_name=table, schema_name="staging")
        return asset.add_batch_definition_whole_table(table)

    def _explained(
        self, first: ExpectationSuiteValidationResult, batch: BatchDefinition, staged: StagedBatch
    ) -> list[ExpectationValidationResult]:
        """The results, those that failed replaced by ones with counts and the query that finds their rows."""
        failed = [_rule(one) for one in first.results if not one.success and not _broken(one)]
        if not failed:
            return list(first.results)
        every = {one.meta["rule"]: one for one in SUITES[staged.endpoint].rows(self._thresholds, staged.profile_table)}
        explained = batch.get_batch().validate(
            ExpectationSuite(name="failed", expectations=[every[name] for name in failed]),
            result_format={
                "result_format": "BASIC",
                "unexpected_index_column_names": list(KEYS[staged.endpoint]),
                "return_unexpected_index_query": True,
                "exclude_unexpected_values": True,
            },
        )
        again = {_rule(one): one for one in explained.results}
        return [again.get(_rule(one), one) for one in first.results]

    def _result_of_rows(
        self, result: ExpectationValidationResult, staged: StagedBatch, connection: Connection
    ) -> ExpectationResult:
        if _broken(result):
            return _broken_result(result)
        config, details = result.expectation_config, result.result
        count = details.get("unexpected_count", details.get("observed_value")) if not result.success else 0
        share = details.get("unexpected_percent")
        says = config.meta["says"]
        return ExpectationResult(
            expectation=_rule(result),
            column=config.kwargs.get("column"),
            severity=_severity(result),
            success=bool(result.success),
            unexpected_count=None if count is None else int(count),
            unexpected_share=None if share is None else share / 100,
            observed_value=None,
            description=says if result.success else f"not true of {int(count or 0):,} rows: {says}",
            failing_keys=() if result.success else self._failing_keys(result, staged, connection),
        )

    def _failing_keys(
        self, result: ExpectationValidationResult, staged: StagedBatch, connection: Connection
    ) -> tuple[str, ...]:
        query = result.expectation_config.kwargs.get("unexpected_rows_query")
        if query:
            query = query.format(batch=sql.Identifier("staging", staged.rows_table).as_string(connection))
        else:
            query = result.result.get("unexpected_index_query")
        if not query:
            return ()
        keys = sql.SQL(", ").join(map(sql.Identifier, KEYS[staged.endpoint]))
        limited = sql.SQL("select {} from ({}\n) as failing limit {}").format(
            keys, sql.SQL(query.rstrip(";\n ")), sql.Literal(self._max_failing_keys)
        )
        rows = connection.execute(limited).fetchall()
        return tuple(" ".join(map(_key_part, row)) for row in rows if None not in row)


def _key_part(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _profile(connection: Connection, table: str) -> dict[str, Any]:
    query = sql.SQL("select * from {}").format(sql.Identifier("staging", table))
    return connection.cursor(row_factory=dict_row).execute(query).fetchone() or {}


def _result_of_profile(result: ExpectationValidationResult, profile: Mapping[str, Any]) -> ExpectationResult:
    if _broken(result):
        return _broken_result(result)
    config = result.expectation_config
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
        description=config.meta["says"] if result.success else description,
    )


def _observed(meta: Mapping[str, Any], kwargs: Mapping[str, Any], profile: Mapping[str, Any]) -> tuple[str, str]:
    """What was measured, and the sentence that says what is wrong with it."""
    if "measure" in meta:
        observed = figure(profile.get(kwargs["column"]), meta["unit"])
        return observed, f"{meta['measure']} {observed} is {meta['beyond']} {figure(meta['limit'], meta['unit'])}"
    columns = [kwargs[name] for name in ("column_A", "column_B") if name in kwargs]
    observed = ", ".join(f"{column} {figure(profile.get(column), 'rows')}" for column in columns)
    return observed, f"not true: {meta['says']}" + (f" ({observed})" if observed else "")


def _broken_result(result: ExpectationValidationResult) -> ExpectationResult:
    config = result.expectation_config
    name = _error_name(result)
    result.exception_info = {"raised_exception": True, "exception_message": name, "exception_traceback": None}
    return ExpectationResult(
        expectation=_rule(result),
        column=config.kwargs.get("column"),
        severity="critical",
        success=False,
        unexpected_count=None,
        unexpected_share=None,
        observed_value=None,
        description=f"the check itself broke ({name}), so nobody knows whether {config.meta['says']}",
    )


def _exceptions(result: ExpectationValidationResult) -> list[Mapping[str, Any]]:
    info = result.exception_info or {}
    nested = [one for one in info.values() if isinstance(one, Mapping)]
    return [one for one in [info, *nested] if one.get("raised_exception")]


def _broken(result: ExpectationValidationResult) -> bool:
    return bool(_exceptions(result))


def _error_name(result: ExpectationValidationResult) -> str:
    """The kind of error only: its text may quote a value."""
    text = " ".join(str(one.get("exception_message")) for one in _exceptions(result))
    found = _ERROR_NAME.search(text)
    return found.group(1) if found else "an error"


def _rule(result: ExpectationValidationResult) -> str:
    return str(result.expectation_config.meta["rule"])


def _severity(result: ExpectationValidationResult) -> Severity:
    return "critical" if str(result.expectation_config.severity) in ("critical", "FailureSeverity.CRITICAL") else "warning"


def _as_one(
    rows: ExpectationSuiteValidationResult, results: Sequence[ExpectationValidationResult], staged: StagedBatch
) -> ExpectationSuiteValidationResult:
    """Rows and profile as one result, for one page a batch."""
    passed = sum(bool(one.success) for one in results)
    return ExpectationSuiteValidationResult(
        success=passed == len(results),
        results=list(results),
        suite_name=staged.endpoint,
        statistics={
            "evaluated_expectations": len(results),
            "successful_expectations": passed,
            "unsuccessful_expectations": len(results) - passed,
            "success_percent": 100 * passed / len(results),
        },
        meta=rows.meta,
    )


def _ephemeral_context() -> EphemeralDataContext:
    return gx.get_context(
        mode="ephemeral",
        project_config=DataContextConfig(
            store_backend_defaults=InMemoryStoreBackendDefaults(init_temp_docs_sites=False),
            progress_bars=ProgressBarsConfig(globally=False),
            analytics_enabled=False,
        ),
    )


class _readable_failures:
    """Turn what the audit's machinery raises into one line without values. Raises DatabaseError."""

    def __enter__(self) -> None:
        self._readable = readable_errors()
        self._readable.__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        if isinstance(error, (GreatExpectationsError, SQLAlchemyError)):
            raise DatabaseError(f"the staged batch could not be judged ({type(error).__name__}); see Postgres' log") from error
        return self._readable.__exit__(kind, error, traceback)
