"""The suite of listening sessions."""

from __future__ import annotations

from core.endpoints import LISTEN_HISTORY
from expectations.gx import Expectation, gxe
from expectations.profile import batch_rules
from expectations.rules import STRUCTURAL, at_least, at_most, figure, no_rows, rule, timestamps_are_possible
from expectations.thresholds import Thresholds


def row_expectations(thresholds: Thresholds, profile_table: str) -> list[Expectation]:
    """Rules over the staged sessions. A session may be older than its user or its tracks."""
    return [
        rule(
            gxe.ExpectColumnValuesToNotBeNull,
            "user_is_named",
            "critical",
            "a session has a user id",
            meta=STRUCTURAL,
            column="user_id",
        ),
        rule(
            gxe.ExpectColumnValuesToNotBeNull,
            "items_are_given",
            "critical",
            "a session has a list of plays",
            meta=STRUCTURAL,
            column="items",
        ),
        timestamps_are_possible(LISTEN_HISTORY),
        no_rows(
            "key_is_unique",
            "critical",
            "a user has one session at a time",
            "audit/staged_sessions.find_duplicate_sessions",
            meta=STRUCTURAL,
        ),
        no_rows(
            "user_is_published",
            "critical",
            "a session's user is in the warehouse",
            "audit/staged_sessions.find_sessions_of_unknown_users",
            meta=STRUCTURAL,
        ),
        no_rows(
            "tracks_are_published",
            "critical",
            "every play is of a track in the warehouse",
            "audit/staged_sessions.find_sessions_with_unknown_tracks",
            meta=STRUCTURAL,
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
        no_rows(
            "session_has_plays", "warning", "a session has plays", "audit/staged_sessions.find_sessions_without_plays"
        ),
        no_rows(
            "session_is_plausible",
            "warning",
            f"a session has at most {thresholds.warn_plays_per_session:,} plays",
            "audit/staged_sessions.find_oversized_sessions",
            limit=thresholds.warn_plays_per_session,
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
    """Rules over the batch as a whole, and over the batches that it depends on."""
    return [
        *batch_rules(thresholds),
        at_most(
            "dependencies_are_published",
            "critical",
            "dependencies_not_published",
            0,
            measure="number of the day's other batches that were not published",
            unit="rows",
            requirement="the day's users and tracks are published, because sessions refer to them",
            structural=True,
        ),
        at_most(
            "rejected_plays_are_few",
            "critical",
            "plays_rejected_share",
            thresholds.max_rejected_plays_share,
            measure="rejected plays share",
            unit="share",
            requirement=f"at most {figure(thresholds.max_rejected_plays_share, 'share')} of the plays were rejected",
        ),
        at_least(
            "last_day_is_whole",
            "critical",
            "share_of_quietest_day",
            thresholds.min_day_volume,
            measure="sessions of the last whole day, compared with the quietest of the 14 days before it:",
            unit="share",
            requirement=f"the last whole day has at least {figure(thresholds.min_day_volume, 'share')} of the sessions "
            "of the quietest of the 14 days before it",
        ),
    ]
