"""The suite of recommendations. It must pass before anyone can read them."""

from __future__ import annotations

from expectations.gx import Expectation, gxe
from expectations.rules import at_least, figure, no_rows, rule
from expectations.thresholds import Thresholds


def row_expectations(thresholds: Thresholds, profile_table: str) -> list[Expectation]:
    """Rules over the staged recommendations, one row per user and rank. They are compared with the current marts."""
    return [
        no_rows(
            "ranks_are_consecutive",
            "critical",
            "the ranks of a recommendation list are 1, 2, 3 and so on",
            "audit/recommendations.find_broken_ranks",
        ),
        no_rows(
            "list_is_full",
            "critical",
            "every user has the configured number of tracks, or all that can be recommended to them",
            "audit/recommendations.find_wrong_lengths",
            profile=("staging", profile_table),
        ),
        no_rows(
            "track_is_unique",
            "critical",
            "a recommendation list has each track at most once",
            "audit/recommendations.find_repeated_tracks",
        ),
        no_rows(
            "user_exists",
            "critical",
            "every recommendation list belongs to a user that the source still lists",
            "audit/recommendations.find_unknown_users",
        ),
        no_rows(
            "track_exists",
            "critical",
            "the source still has every recommended track",
            "audit/recommendations.find_removed_tracks",
        ),
        no_rows(
            "track_is_new_to_user",
            "critical",
            "no recommended track was already played by the user (unless RECOMMEND_PLAYED is set)",
            "audit/recommendations.find_seen_tracks",
            profile=("staging", profile_table),
        ),
        no_rows(
            "reason_was_played",
            "critical",
            "the user has played every track that explains a recommendation",
            "audit/recommendations.find_unplayed_reasons",
        ),
        no_rows(
            "reason_exists",
            "critical",
            "the source still has every track that explains a recommendation",
            "audit/recommendations.find_removed_reasons",
        ),
        no_rows(
            "score_is_finite",
            "critical",
            "every score is a finite number",
            "audit/recommendations.find_non_finite_scores",
        ),
        no_rows(
            "scores_do_not_rise",
            "critical",
            "no rank has a higher score than the previous rank",
            "audit/recommendations.find_rising_scores",
        ),
    ]


def profile_expectations(thresholds: Thresholds) -> list[Expectation]:
    """Rules over all recommendations together. Popular tracks are the same for all users: they have no coverage."""
    lowest, low = figure(thresholds.min_coverage, "share"), figure(thresholds.warn_coverage, "share")
    return [
        rule(
            gxe.ExpectTableRowCountToEqual,
            "recommendations_are_profiled",
            "critical",
            "the recommendations have exactly one profile",
            value=1,
        ),
        at_least(
            "recommendations_exist",
            "critical",
            "rows_listed",
            1,
            measure="number of recommendations",
            unit="rows",
            requirement="there are recommendations",
        ),
        at_least(
            "catalogue_is_covered",
            "critical",
            "coverage",
            thresholds.min_coverage,
            measure="coverage",
            unit="share",
            requirement=f"a model recommends at least {lowest} of the tracks that this number of rows could contain",
        ),
        at_least(
            "catalogue_is_well_covered",
            "warning",
            "coverage",
            thresholds.warn_coverage,
            measure="coverage",
            unit="share",
            requirement=f"a model recommends at least {low} of the tracks that this number of rows could contain",
        ),
    ]
