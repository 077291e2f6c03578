"""The audit of the stream: stage the rows stored since the last audit, save the results, and delete failed lists.

The figures that the rules compare are read in one snapshot, so that no list fails because of an ingest meanwhile.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta

from psycopg import sql

from core.audits import AuditReport
from core.clock import CLOCK_SKEW
from core.database import Connection, readable_errors
from core.endpoints import FRESH_RECOMMENDATIONS, STREAMED_SESSIONS, AuditedTable
from core.queries import compose_query, load_query
from core.settings import Settings
from erasure.suppression_list import SUPPRESSION_LOCK, read_database
from streaming.recommendation_history import add_removals

TABLES: tuple[AuditedTable, ...] = (STREAMED_SESSIONS, FRESH_RECOMMENDATIONS)
# The period of the first audit, and of an audit after a long break.
_LONGEST = timedelta(days=1)
# If there are more lists, a sample is audited, so that the audit stays short.
_MAX_LISTS = 10_000
# An erasure that waits for an ingest takes a while. Rows of its user that were stored before are no failure meanwhile.
_ERASURE_DURATION = timedelta(hours=1)


def profile_table(table: AuditedTable) -> str:
    """The name of the staging table with the profile."""
    return f"{table}_profile"


def audit_id(table: AuditedTable, now: datetime) -> str:
    """The name of an audit in `stream.expectation_results` and Data Docs."""
    return f"{table}-{now:%Y-%m-%dT%H-%M}"


@readable_errors()
def find_start(connection: Connection, now: datetime) -> datetime:
    """The start of the audited period: the last audit minus the clock skew, at most a day ago. Raises DatabaseError."""
    row = connection.execute(load_query("audit/stream.find_last_audit"), {"now": now}).fetchone()
    last = row[0] if row and row[0] else now - _LONGEST
    return max(last - CLOCK_SKEW, now - _LONGEST)


@readable_errors()
def stage_stream(connection: Connection, settings: Settings, since: datetime, now: datetime) -> dict[AuditedTable, int]:
    """Stage streamed sessions and fresh recommendations since a moment, with their profiles, in one snapshot.

    Returns the number of rows of each table. Raises DatabaseError.
    """
    drop_staged(connection)
    with connection.transaction():
        connection.execute("set transaction isolation level repeatable read")
        suppressed = read_database(connection)
        users = connection.execute(load_query("audit/stream.find_users"), {"since": since})
        entries = [(user_id, suppressed.entry_of(user_id)) for user_id in suppressed.matching_ids(u for (u,) in users)]
        values = {
            "since": since,
            "now": now,
            "erased_ids": [user_id for user_id, _ in entries],
            "erased_at": [entry.erased_at if entry else None for _, entry in entries],
            "erased_before": now - _ERASURE_DURATION,
            "max_lists": _MAX_LISTS,
            "seed": int(now.timestamp()),
            "per_user": settings.recommendations_per_user,
            "excludes_played": not settings.recommend_played,
            "dropped_before": now - timedelta(days=settings.stream_unconfirmed_days),
            "live_before": now - CLOCK_SKEW,
        }
        sessions, lists = ("staging", STREAMED_SESSIONS), ("staging", FRESH_RECOMMENDATIONS)
        profiles = {table: ("staging", profile_table(table)) for table in TABLES}
        counts = {
            STREAMED_SESSIONS: connection.execute(
                compose_query("audit/stage_streamed_sessions", table=sessions), values
            ).rowcount,
            FRESH_RECOMMENDATIONS: connection.execute(
                compose_query("audit/stage_fresh_recommendations", table=lists), values
            ).rowcount,
        }
        connection.execute(
            compose_query("audit/stream.create_sessions_profile", table=profiles[STREAMED_SESSIONS], sessions=sessions),
            values,
        )
        connection.execute(
            compose_query("audit/stream.create_fresh_profile", table=profiles[FRESH_RECOMMENDATIONS], lists=lists),
            values,
        )
    return counts


@readable_errors()
def drop_staged(connection: Connection) -> None:
    """Drop the staging tables of an audit, if there are any. Raises DatabaseError."""
    for table in TABLES:
        for name in (table, profile_table(table)):
            connection.execute(sql.SQL("drop table if exists {}").format(sql.Identifier("staging", name)))


@readable_errors()
def save_results(connection: Connection, reports: Sequence[AuditReport], audited_at: datetime) -> None:
    """Save the results of audits, in one transaction. Raises DatabaseError."""
    with connection.transaction(), connection.cursor() as cursor:
        for report in reports:
            cursor.execute(load_query("audit/stream.delete_results"), {"audit_id": report.batch_id})
            cursor.executemany(
                load_query("audit/stream.insert_result"),
                [
                    {"audit_id": report.batch_id, "audited_at": audited_at, **asdict(result)}
                    for result in report.results
                ],
            )


def failed_lists(report: AuditReport) -> dict[int, str]:
    """The users whose fresh recommendations failed a rule, with the rule that failed first."""
    reasons: dict[int, str] = {}
    for result in report.results:
        for key in result.failing_keys if result.blocks else ():
            reasons.setdefault(int(key), f"the audit failed: {result.expectation}")
    return reasons


@readable_errors()
def delete_failed_lists(connection: Connection, reasons: Mapping[int, str], now: datetime) -> int:
    """Delete the staged lists of these users, unless they changed since, and record the reasons, in one transaction.

    Returns how many were deleted. Raises DatabaseError.
    """
    if not reasons:
        return 0
    with connection.transaction(), connection.cursor() as cursor:
        cursor.execute(load_query("stream/sessions.lock_suppression_list"), {"lock": SUPPRESSION_LOCK})
        deleted = cursor.execute(
            compose_query("audit/stream.delete_failed_lists", table=("staging", FRESH_RECOMMENDATIONS)),
            {"user_ids": list(reasons)},
        ).fetchall()
        erased = read_database(connection).matching_ids(user_id for _, user_id, _ in deleted)
        failures = [
            {
                "publication_id": publication_id,
                "user_id": user_id,
                "change_id": change_id,
                "reason": reasons[user_id],
                "now": now,
            }
            for publication_id, user_id, change_id in deleted
            if user_id not in erased
        ]
        if failures:
            cursor.executemany(load_query("stream/fresh_recommendations.record_failure"), failures)
        add_removals(connection, [(failure["publication_id"], failure["user_id"]) for failure in failures], now)
    return len(deleted)
