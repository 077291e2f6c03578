"""The suite of tracks."""

from __future__ import annotations

from core.endpoints import TRACKS
from expectations.gx import Expectation, gxe
from expectations.profile import batch_rules
from expectations.rules import dimension_rules, rule
from expectations.thresholds import Thresholds


def row_expectations(thresholds: Thresholds, profile_table: str) -> list[Expectation]:
    """Rules over the staged tracks. Genres are free text, and created_at may be later than updated_at: both pass."""
    return [
        *dimension_rules(TRACKS, thresholds, profile_table, required_texts=("name", "artist")),
        rule(
            gxe.ExpectColumnValuesToMatchRegex,
            "duration_is_mm_ss",
            "warning",
            "a duration reads MM:SS",
            column="duration",
            regex=r"^[0-9]{2}:[0-5][0-9]$",
        ),
        rule(
            gxe.ExpectColumnValuesToBeBetween,
            "duration_is_plausible",
            "warning",
            f"a track lasts more than 0 and at most {thresholds.warn_track_seconds:,} seconds",
            column="duration_seconds",
            min_value=0,
            strict_min=True,
            max_value=thresholds.warn_track_seconds,
        ),
    ]


def profile_expectations(thresholds: Thresholds) -> list[Expectation]:
    """Rules over the batch as a whole."""
    return batch_rules(thresholds)
