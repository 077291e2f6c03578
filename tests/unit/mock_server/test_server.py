"""The calendar that a server without a day of its own follows."""

import asyncio
import datetime as dt

import pytest

from mock_server.command_line import read_options
from mock_server.control import MockApi
from mock_server.server import follow_calendar
from mock_server.timeline import Timeline

NOON = dt.datetime(2026, 11, 22, 12, tzinfo=dt.UTC)


def test_each_midnight_is_another_day() -> None:
    options = read_options(["--users", "20", "--tracks", "20", "--sessions", "20"], NOON.date())
    control = MockApi(Timeline(options.plan), options.day, options.faults, options.token)
    slept: list[float] = []
    days: list[str] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        days.append(str(control.day))
        if len(slept) == 3:
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(follow_calendar(control, lambda: NOON + dt.timedelta(seconds=sum(slept)), sleep))
    assert slept == [12 * 3600, 24 * 3600, 24 * 3600]
    assert days == ["2026-11-22", "2026-11-23", "2026-11-24"]


def test_a_day_that_was_asked_for_stays() -> None:
    assert read_options([], NOON.date()).follows_calendar
    assert not read_options(["--day", "2026-11-22"], NOON.date()).follows_calendar
