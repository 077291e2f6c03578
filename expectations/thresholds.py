"""All thresholds of the audits. Change one with `THRESHOLD_<NAME>` in the environment or in `.env`.

Shares are numbers from 0 to 1. A figure that equals its limit passes.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from core.audits import Severity
from core.errors import SettingsError
from core.settings import ENV_FILE, wrong_values

Share = Annotated[float, Field(ge=0, le=1)]
# Each of these figures has a threshold `warn_` and a lower threshold `min_`, which blocks.
_WARNED_AND_BLOCKED = ("share_of_published", "coverage")


class Thresholds(BaseSettings):
    """The thresholds. `docs/data-quality.md` lists the rules that use them."""

    model_config = SettingsConfigDict(env_prefix="THRESHOLD_", env_file=ENV_FILE, extra="ignore", frozen=True)

    max_rejected_share: Share = Field(
        default=0.01,
        description="a few invalid rows are rejected; more of them mean that the source changed its format",
    )
    max_rejected_plays_share: Share = Field(
        default=0.01, description="models learn from plays: losing more than a few distorts every recommendation"
    )
    max_conflicting_share: Share = Field(
        default=0.01,
        description="one of several conflicting rows is kept: more than a few conflicts lose data",
    )
    max_blank_share: Share = Field(
        default=0.05, description="single blank texts are normal; a batch with many of them has lost a column"
    )
    min_share_of_published: Share = Field(
        default=0.7, description="a snapshot that shrinks by a third was read incompletely, or emptied by accident"
    )
    warn_share_of_published: Share = Field(
        default=0.9,
        description="a snapshot rarely loses a tenth in a day: a person should check, publication continues",
    )
    min_day_volume: Share = Field(
        default=0.7,
        description="weekends and quiet days have more than the quietest of 14 days; a third less means lost sessions",
    )
    warn_growth: float = Field(
        default=1.5, ge=1, description="50 % more rows in a day are a launch, or a snapshot sent twice with new keys"
    )
    warn_removed_share: Share = Field(
        default=0.1, description="the source may replace all ids at once: this warns, and never blocks"
    )
    min_coverage: Share = Field(
        default=0.01, description="a model that recommends the same few tracks to all users has learned nothing"
    )
    warn_coverage: Share = Field(default=0.03, description="with so low a coverage, most artists are never recommended")
    warn_parked_share: Share = Field(
        default=0.05, description="new users and tracks are few; more of them mean that their snapshots are missing"
    )
    max_failed_list_share: Share = Field(
        default=0.01, description="a model whose lists fail the consumer's checks leaves users with the published ones"
    )
    warn_stale_days: float = Field(
        default=7, ge=0, description="no update in the week before the day suggests that the source sends an old copy"
    )
    warn_text_length: int = Field(default=1_000, ge=1, description="a longer text is markup or has a broken separator")
    warn_track_seconds: int = Field(
        default=3_600, ge=1, description="MM:SS is meant for less than an hour; a longer track is a podcast or an error"
    )
    warn_plays_per_session: int = Field(
        default=500, ge=1, description="more plays in one session come from a bot, or from merged sessions"
    )
    warn_sessions_per_user_day: int = Field(
        default=200, ge=1, description="200 sessions are one every seven minutes: a bot, or a shared account"
    )
    unusual_figures: Severity = Field(
        default="warning",
        description="an unusual figure is often true; `critical` blocks the batch until a person accepts it",
    )


def load_thresholds() -> Thresholds:
    """Read the environment and `.env`. Raises SettingsError: one line that names each wrong threshold."""
    try:
        thresholds = Thresholds()
    except ValidationError as error:
        wrong = "; ".join(wrong_values(error, "THRESHOLD_"))
        raise SettingsError(f"wrong threshold: {wrong} (set it in the environment or in .env)") from None
    _check_order(thresholds)
    return thresholds


def _check_order(thresholds: Thresholds) -> None:
    """Raises SettingsError if a batch would be blocked before there is a warning."""
    for name in _WARNED_AND_BLOCKED:
        warning, minimum = f"warn_{name}", f"min_{name}"
        if getattr(thresholds, warning) < getattr(thresholds, minimum):
            raise SettingsError(
                f"wrong threshold: THRESHOLD_{warning.upper()} must not be below THRESHOLD_{minimum.upper()}, "
                "or a batch blocks before it warns (set it in the environment or in .env)"
            )
