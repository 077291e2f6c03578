"""Every number the audit judges by, in one place. Change one with `THRESHOLD_<NAME>` in the environment or in `.env`.

Shares are of 1. A limit itself passes: only what is strictly beyond it fails.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from core.errors import SettingsError
from core.settings import ENV_FILE, wrong_values

Share = Annotated[float, Field(ge=0, le=1)]
# What is worth a look before it is too little: each has a `warn_` and a `min_`.
_WARNED_AND_BLOCKED = ("share_of_published", "coverage")


class Thresholds(BaseSettings):
    """One frozen object; `docs/data-quality.md` lists what each field blocks or warns about."""

    model_config = SettingsConfigDict(env_prefix="THRESHOLD_", env_file=ENV_FILE, extra="ignore", frozen=True)

    max_rejected_share: Share = Field(
        default=0.01, description="a few broken rows are set aside; more means the source has changed its contract"
    )
    max_rejected_plays_share: Share = Field(
        default=0.01, description="plays are what is learned from: losing more than a few skews every recommendation"
    )
    max_conflicting_share: Share = Field(
        default=0.01,
        description="of rows that share a key and contradict each other one is kept: more than a few lose data",
    )
    max_blank_share: Share = Field(
        default=0.05, description="single blank texts happen; a batch full of them has lost a column"
    )
    min_share_of_published: Share = Field(
        default=0.7, description="a list that shrinks by a third was not read whole, or was emptied by accident"
    )
    warn_share_of_published: Share = Field(
        default=0.9, description="a list rarely loses a tenth in a day: worth a look, not worth stopping"
    )
    min_day_volume: Share = Field(
        default=0.7,
        description="weekends and slow days lie above the quietest of two weeks; a third below it, listens were lost",
    )
    warn_growth: float = Field(
        default=1.5, ge=1, description="half as many again in a day is a launch, or a list sent twice under new keys"
    )
    warn_removed_share: Share = Field(
        default=0.1, description="the source may hand out new ids to everything at once: told, never blocked"
    )
    min_coverage: Share = Field(
        default=0.01, description="a model that shows everyone the same few tracks has learned nothing about anyone"
    )
    warn_coverage: Share = Field(
        default=0.03, description="lists that show so little of the catalogue leave most artists unheard"
    )
    warn_stale_days: float = Field(
        default=7, ge=0, description="nothing updated for a week before the day suggests a frozen copy"
    )
    warn_text_length: int = Field(default=1_000, ge=1, description="longer names are markup or a broken separator")
    warn_track_seconds: int = Field(
        default=3_600, ge=1, description="the contract's MM:SS ends at an hour; longer is a podcast or a mistake"
    )
    warn_plays_per_session: int = Field(
        default=500, ge=1, description="nobody listens to more in one session: a bot, or sessions glued together"
    )
    warn_sessions_per_user_day: int = Field(
        default=200, ge=1, description="one every seven minutes around the clock: a bot, or a shared account"
    )


def load_thresholds() -> Thresholds:
    """Read the environment and `.env`. Raises SettingsError: one line that names each wrong threshold."""
    try:
        thresholds = Thresholds()
    except ValidationError as error:
        wrong = "; ".join(wrong_values(error, "THRESHOLD_"))
        raise SettingsError(f"wrong threshold: {wrong} (set it in the environment or in .env)") from None
    _must_warn_first(thresholds)
    return thresholds


def _must_warn_first(thresholds: Thresholds) -> None:
    for name in _WARNED_AND_BLOCKED:
        warn, least = f"warn_{name}", f"min_{name}"
        if getattr(thresholds, warn) < getattr(thresholds, least):
            raise SettingsError(
                f"wrong threshold: THRESHOLD_{warn.upper()} must not be below THRESHOLD_{least.upper()}, "
                "or a batch blocks before it warns (set it in the environment or in .env)"
            )
