"""Recommendations: what everyone's lists must be like before anybody sees them."""

from __future__ import annotations

from great_expectations import expectations as gxe
from great_expectations.expectations.expectation import Expectation

from expectations.rules import at_least, figure, no_rows, rule
from expectations.thresholds import Thresholds


def rows(thresholds: Thresholds, profile_table: str) -> list[Expectation]:
    """Rules over the lists, one row a listener and rank, held against the marts as they are now."""
    return [
        no_rows(
            "ranks_are_whole",
            "critical",
            "a list has the ranks 1, 2, 3 and so on",
            "audit/recommendations.find_broken_ranks",
        ),
        no_rows(
            "list_is_whole",
            "critical",
            "every listener has as many tracks as were asked for, or all that are left to recommend",
            "audit/recommendations.find_wrong_lengths",
            profile=("staging", profile_table),
        ),
        no_rows(
            "track_comes_once", "critical", "a list has a track once", "audit/recommendations.find_repeated_tracks"
        ),
        no_rows(
            "listener_is_there",
            "critical",
            "a list is of a user who is at the source",
            "audit/recommendations.find_unknown_users",
        ),
        no_rows(
            "track_is_offered",
            "critical",
            "a recommended track is at the source",
            "audit/recommendations.find_removed_tracks",
        ),
        no_rows(
            "track_is_new_to_listener",
            "critical",
            "a list has nothing that the listener already played (unless RECOMMEND_PLAYED is set)",
            "audit/recommendations.find_seen_tracks",
            profile=("staging", profile_table),
        ),
        no_rows(
            "score_is_finite", "critical", "a score is a finite number", "audit/recommendations.find_non_finite_scores"
        ),
        no_rows(
            "scores_do_not_rise",
            "critical",
            "no rank has a higher score than the one before",
            "audit/recommendations.find_rising_scores",
        ),
    ]


def profile(thresholds: Thresholds) -> list[Expectation]:
    """Rules over the lists as a whole. Lists of popularity are alike by design: coverage is not asked of them."""
    lowest, low = figure(thresholds.min_coverage, "share"), figure(thresholds.warn_coverage, "share")
    return [
        rule(
            gxe.ExpectTableRowCountToEqual,
            "lists_are_profiled",
            "critical",
            "the lists have exactly one profile",
            value=1,
        ),
        at_least(
            "lists_are_there",
            "critical",
            "rows_listed",
            1,
            measure="number of recommendations",
            unit="rows",
            says="there are recommendations",
        ),
        at_least(
            "catalogue_is_covered",
            "critical",
            "coverage",
            thresholds.min_coverage,
            measure="coverage",
            unit="share",
            says=f"a model's lists show at least {lowest} of the tracks that so many rows could show",
        ),
        at_least(
            "catalogue_is_well_covered",
            "warning",
            "coverage",
            thresholds.warn_coverage,
            measure="coverage",
            unit="share",
            says=f"a model's lists show at least {low} of the tracks that so many rows could show",
        ),
    ]
