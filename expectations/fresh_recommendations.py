"""The suite of fresh recommendations. They are live already, so lists that fail it are deleted."""

from __future__ import annotations

from core.clock import CLOCK_SKEW
from expectations.gx import Expectation, gxe
from expectations.rules import at_most, figure, rule
from expectations.thresholds import Thresholds

# Name, requirement, column of figures that are at most 0.
_ABSENT = (
    ("track_has_a_score", "every track of a list has a score; its position is its rank", "tracks_without_score"),
    ("list_is_not_too_long", "a list has at most the configured number of tracks", "surplus_tracks"),
    ("list_is_full", "a list has the configured number of tracks, or all that can be recommended", "missing_tracks"),
    ("track_is_unique", "a list has each track at most once", "repeated_tracks"),
    ("track_exists", "the source still has every track", "unknown_tracks"),
    (
        "track_is_new_to_user",
        "no track was played in the sessions that the list includes (unless RECOMMEND_PLAYED is set)",
        "seen_tracks",
    ),
    ("score_is_finite", "every score is a finite number", "non_finite_scores"),
    ("scores_do_not_rise", "no rank has a higher score than the previous rank", "rising_scores"),
    ("user_exists", "every list belongs to a user that the source still lists", "user_is_unknown"),
    ("user_is_not_erased", "no list is of an erased user", "user_is_erased"),
)


def row_expectations(thresholds: Thresholds, profile_table: str) -> list[Expectation]:
    """Rules over the lists since the last audit, one row per user. A list that fails one is deleted."""
    skew = CLOCK_SKEW.total_seconds()
    return [
        *(
            rule(gxe.ExpectColumnValuesToBeBetween, name, "critical", requirement, column=column, max_value=0)
            for name, requirement, column in _ABSENT
        ),
        rule(
            gxe.ExpectColumnValuesToBeBetween,
            "list_is_not_in_the_future",
            "critical",
            f"a list is at most {skew:g} seconds ahead of our clock",
            column="seconds_ahead",
            max_value=skew,
        ),
        rule(
            gxe.ExpectColumnValuesToBeBetween,
            "list_follows_its_sessions",
            "critical",
            f"a list includes no session that began more than {skew:g} seconds after it",
            column="seconds_before_session",
            max_value=skew,
        ),
    ]


def profile_expectations(thresholds: Thresholds) -> list[Expectation]:
    """Rules over all lists since the last audit, also those that the consumer did not save."""
    failed = figure(thresholds.max_failed_list_share, "share")
    return [
        rule(
            gxe.ExpectTableRowCountToEqual,
            "lists_are_profiled",
            "critical",
            "the lists have exactly one profile",
            value=1,
        ),
        at_most(
            "failed_lists_are_few",
            "critical",
            "failed_share",
            thresholds.max_failed_list_share,
            measure="share of lists that failed the consumer's checks",
            unit="share",
            requirement=f"at most {failed} of at least 100 lists failed the consumer's checks",
        ),
        at_most(
            "lists_are_of_the_live_publication",
            "warning",
            "lists_not_live",
            0,
            measure="number of lists of other publications",
            unit="rows",
            requirement="the consumer has deleted the lists of publications that are not live",
        ),
    ]
