"""The suite of streamed sessions. They are stored already, so a failed audit blocks nothing."""

from __future__ import annotations

from core.clock import CLOCK_SKEW
from expectations.gx import Expectation, gxe
from expectations.rules import at_most, figure, no_rows, rule
from expectations.thresholds import Thresholds


def row_expectations(thresholds: Thresholds, profile_table: str) -> list[Expectation]:
    """Rules over the sessions that were stored since the last audit."""
    return [
        rule(
            gxe.ExpectColumnValuesToBeBetween,
            "session_is_not_in_the_future",
            "critical",
            f"a session is at most {CLOCK_SKEW.total_seconds():g} seconds ahead of the consumer's clock",
            column="seconds_ahead",
            max_value=CLOCK_SKEW.total_seconds(),
        ),
        rule(
            gxe.ExpectColumnValuesToBeBetween,
            "user_is_published",
            "critical",
            "the user of a session is in the warehouse, or the session is parked",
            column="user_is_unknown",
            max_value=0,
        ),
        rule(
            gxe.ExpectColumnValuesToBeBetween,
            "tracks_are_published",
            "critical",
            "every play is of a track in the warehouse, or the session is parked",
            column="unknown_tracks",
            max_value=0,
        ),
        rule(
            gxe.ExpectColumnValuesToBeBetween,
            "user_is_not_erased",
            "critical",
            "no session is of an erased user",
            column="user_is_erased",
            max_value=0,
        ),
        rule(
            gxe.ExpectColumnPairValuesAToBeGreaterThanB,
            "updated_after_created",
            "warning",
            "a session is not updated before it is created",
            column_A="updated_at",
            column_B="created_at",
            or_equal=True,
        ),
        rule(
            gxe.ExpectColumnValuesToBeBetween,
            "session_has_plays",
            "warning",
            "a session has plays",
            column="plays",
            min_value=1,
        ),
        rule(
            gxe.ExpectColumnValuesToBeBetween,
            "session_is_plausible",
            "warning",
            f"a session has at most {thresholds.warn_plays_per_session:,} plays",
            column="plays",
            max_value=thresholds.warn_plays_per_session,
        ),
        no_rows(
            "user_is_plausible",
            "warning",
            f"a user has at most {thresholds.warn_sessions_per_user_day:,} sessions a day",
            "audit/staged_sessions.find_overactive_users",
            limit=thresholds.warn_sessions_per_user_day,
        ),
    ]


def profile_expectations(thresholds: Thresholds) -> list[Expectation]:
    """Rules over all messages since the last audit. The watchdog notifies of many rejected messages at once."""
    rejected, parked = (
        figure(share, "share") for share in (thresholds.max_rejected_share, thresholds.warn_parked_share)
    )
    return [
        rule(
            gxe.ExpectTableRowCountToEqual,
            "sessions_are_profiled",
            "critical",
            "the sessions have exactly one profile",
            value=1,
        ),
        at_most(
            "rejects_are_few",
            "warning",
            "rejected_share",
            thresholds.max_rejected_share,
            measure="share of rejected messages",
            unit="share",
            requirement=f"at most {rejected} of at least 100 messages were rejected",
        ),
        at_most(
            "parked_are_few",
            "warning",
            "parked_share",
            thresholds.warn_parked_share,
            measure="share of parked sessions",
            unit="share",
            requirement=f"at most {parked} of at least 100 messages are of an unknown user or track",
        ),
        at_most(
            "unconfirmed_are_dropped",
            "warning",
            "days_overdue",
            1,
            measure="age of the oldest unconfirmed session beyond STREAM_UNCONFIRMED_DAYS",
            unit="days",
            requirement="a session that no snapshot had within STREAM_UNCONFIRMED_DAYS is dropped a day later",
        ),
    ]
