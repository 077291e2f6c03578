"""Rules over a batch as a whole: its profile is one row, with the same columns for every endpoint."""

from __future__ import annotations

from expectations.gx import Expectation, gxe
from expectations.rules import STRUCTURAL, at_least, at_most, figure, rule
from expectations.thresholds import Thresholds


def batch_rules(thresholds: Thresholds) -> list[Expectation]:
    """The rules for any batch. They compare it with the API's total and with the published rows."""
    return [
        rule(
            gxe.ExpectTableRowCountToEqual,
            "batch_is_profiled",
            "critical",
            "the batch has exactly one profile",
            meta=STRUCTURAL,
            value=1,
        ),
        rule(
            gxe.ExpectColumnPairValuesToBeEqual,
            "list_is_complete",
            "critical",
            "the number of landed rows equals the total that the API reported",
            column_A="rows_landed",
            column_B="rows_reported",
        ),
        *_share_rules(thresholds),
        *_key_rules(),
        *_size_rules(thresholds),
        at_most(
            "source_is_fresh",
            "warning",
            "days_since_newest_update",
            thresholds.warn_stale_days,
            measure="age of the newest row",
            unit="days",
            requirement=f"a row was updated within the {thresholds.warn_stale_days:g} days before the batch's day",
        ),
        at_most(
            "fields_are_known",
            "warning",
            "rows_with_unknown_fields",
            0,
            measure="number of rows with unknown fields",
            unit="rows",
            requirement="the API sends no undocumented fields",
        ),
    ]


def _share_rules(thresholds: Thresholds) -> list[Expectation]:
    return [
        at_most(
            "rejects_are_few",
            "critical",
            "rejected_share",
            thresholds.max_rejected_share,
            measure="rejected share",
            unit="share",
            requirement=f"at most {figure(thresholds.max_rejected_share, 'share')} of the rows were rejected",
        ),
        at_most(
            "conflicts_are_few",
            "critical",
            "conflicting_share",
            thresholds.max_conflicting_share,
            measure="share of conflicting rows",
            unit="share",
            requirement=f"at most {figure(thresholds.max_conflicting_share, 'share')} of the rows conflict with the "
            "kept row of the same key",
        ),
        at_most(
            "removals_are_few",
            "warning",
            "removed_share",
            thresholds.warn_removed_share,
            measure="removed share",
            unit="share",
            requirement=f"at most {figure(thresholds.warn_removed_share, 'share')} of the published rows disappeared",
        ),
    ]


def _key_rules() -> list[Expectation]:
    return [
        at_most(
            "no_rows_conflict",
            "warning",
            "rows_conflicting",
            0,
            measure="number of rows that conflict with the kept row",
            unit="rows",
            requirement="no two rows with the same key contradict each other",
        ),
        at_most(
            "rows_have_one_version",
            "warning",
            "rows_superseded",
            0,
            measure="number of older versions of rows in the snapshot",
            unit="rows",
            requirement="the snapshot has one version of each row",
        ),
    ]


def _size_rules(thresholds: Thresholds) -> list[Expectation]:
    lowest, low, high = (
        figure(share, "share")
        for share in (thresholds.min_share_of_published, thresholds.warn_share_of_published, thresholds.warn_growth)
    )
    return [
        at_least(
            "list_did_not_collapse",
            "critical",
            "share_of_published",
            thresholds.min_share_of_published,
            measure="size compared with the published rows",
            unit="share",
            requirement=f"the snapshot has at least {lowest} of the rows published before",
        ),
        at_least(
            "list_did_not_shrink",
            "warning",
            "share_of_published",
            thresholds.warn_share_of_published,
            measure="size compared with the published rows",
            unit="share",
            requirement=f"the snapshot has at least {low} of the rows published before",
        ),
        at_most(
            "list_did_not_explode",
            "warning",
            "share_of_published",
            thresholds.warn_growth,
            measure="size compared with the published rows",
            unit="share",
            requirement=f"the snapshot has at most {high} of the rows published before",
        ),
        at_least(
            "list_is_not_empty",
            "warning",
            "rows_listed",
            1,
            measure="number of rows in the snapshot",
            unit="rows",
            requirement="the snapshot has rows",
        ),
    ]
