"""The clock: the machine's time, or the time in a file, read at each call."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from core.clock import clock_of, utc_now
from core.errors import SettingsError
from core.settings import Settings


def settings(file: Path | None) -> Settings:
    return Settings(_env_file=None, clock_file=file)  # type: ignore[call-arg]


def test_without_a_file_the_clock_returns_the_current_time() -> None:
    assert clock_of(settings(None)) is utc_now
    now = utc_now()
    assert now.utcoffset() == timedelta(0)
    assert abs(datetime.now(UTC) - now) < timedelta(minutes=1)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-11-22T03:00", datetime(2026, 11, 22, 3, tzinfo=UTC)),
        ("2026-11-22", datetime(2026, 11, 22, tzinfo=UTC)),
        ("2026-11-22T03:00:00+01:00\n", datetime(2026, 11, 22, 2, tzinfo=UTC)),
    ],
)
def test_a_time_without_a_zone_in_the_file_is_utc(text: str, moment: datetime, tmp_path: Path) -> None:
    file = tmp_path / "clock"
    file.write_text(text)
    time = clock_of(settings(file))()
    assert (time, time.utcoffset()) == (moment, timedelta(0))


def test_the_file_is_read_at_each_call_and_may_go_back_in_time(tmp_path: Path) -> None:
    file = tmp_path / "clock"
    clock = clock_of(settings(file))
    for text in ("2026-11-22", "2026-11-23", "2026-11-21"):
        file.write_text(text)
        assert f"{clock():%Y-%m-%d}" == text


def test_the_error_names_a_missing_file() -> None:
    with pytest.raises(SettingsError, match=r"CLOCK_FILE /nowhere/clock cannot be used: No such file"):
        clock_of(settings(Path("/nowhere/clock")))()


@pytest.mark.parametrize("content", [b"", b"tomorrow", b"2026-11-31", b"20261122", b"2026-W47-7", b"\xff\xfe"])
def test_the_error_for_a_file_without_a_time_shows_the_format(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "clock"
    file.write_bytes(content)
    with pytest.raises(SettingsError, match="it holds no time like 2026-11-22T03:00; unset it to use the machine"):
        clock_of(settings(file))()
