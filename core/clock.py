"""The current time: from the machine's clock, or from a file in tests and simulations."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from core.dates import parse_time
from core.errors import SettingsError
from core.settings import Settings

Clock = Callable[[], datetime]

# The clocks of two machines may differ by this much. A time further in the future comes from a wrong clock, and says
# nothing about order or age.
CLOCK_SKEW = timedelta(minutes=5)


def utc_now() -> datetime:
    """The clock of production."""
    return datetime.now(UTC)


def is_ahead(moment: datetime, now: datetime) -> bool:
    """Whether a moment is so far in the future that its clock must be wrong."""
    return moment > now + CLOCK_SKEW


def clock_of(settings: Settings) -> Clock:
    """The clock that the settings choose. If it is a file without a valid time, calling it raises SettingsError."""
    file = settings.clock_file
    return utc_now if file is None else lambda: _read(file)


def _read(file: Path) -> datetime:
    try:
        moment = parse_time(file.read_text().strip())
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it holds no time like 2026-11-22T03:00"
        raise SettingsError(
            f"CLOCK_FILE {file} cannot be used: {reason}; unset it to use the machine's clock"
        ) from None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
