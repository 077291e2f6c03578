"""What time it is: the machine's clock, or in a rehearsal the moment that a file names."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from core.dates import parse_time
from core.errors import SettingsError
from core.settings import Settings

Clock = Callable[[], datetime]

# How far a moment may lie after our own now and still be believed: the clocks of two machines differ by so much.
# A moment further ahead was written by a clock that was wrong, and tells nothing about order or age.
CLOCK_SKEW = timedelta(minutes=5)


def utc_now() -> datetime:
    """The clock of production."""
    return datetime.now(UTC)


def is_ahead(moment: datetime, now: datetime) -> bool:
    """Whether a moment lies so far after now that the clock which gave it was wrong."""
    return moment > now + CLOCK_SKEW


def clock_of(settings: Settings) -> Clock:
    """The clock that the settings name. Asked for the time, a file raises SettingsError when it does not tell one."""
    file = settings.clock_file
    return utc_now if file is None else lambda: _read(file)


def _read(file: Path) -> datetime:
    try:
        moment = parse_time(file.read_text().strip())
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "it holds no time like 2026-11-22T03:00"
        raise SettingsError(f"CLOCK_FILE {file} does not tell the time: {why}; leave it out for now") from None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
