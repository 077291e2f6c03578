"""The calendar that the server follows if no day is set."""

import asyncio
import datetime as dt

import pytest

from mock_server.command_line import read_options
from mock_server.control import RequestRouter
from mock_server.server import follow_calendar
from mock_server.timeline import Timeline

NOON = dt.datetime(2026, 11, 22, 12, tzinfo=dt.UTC)


def test_day_changes_at_midnight() -> None:
    options = read_options(["--users", "20", "--tracks", "20", "--sessions", "20"], NOON.date())
    router = RequestRouter(Timeline(options.plan), options.day, options.faults, options.token)
    sleeps: list[float] = []
    days: list[str] = []

    async def sleep(seconds: float) -> None:
        sleeps.append(seconds)
        days.append(str(router.day))
        if len(sleeps) == 3:
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(follow_calendar(router, lambda: NOON + dt.timedelta(seconds=sum(sleeps)), sleep))
    assert sleeps == [12 * 3600, 24 * 3600, 24 * 3600]
    assert days == ["2026-11-22", "2026-11-23", "2026-11-24"]


def test_requested_day_does_not_follow_the_calendar() -> None:
    assert read_options([], NOON.date()).follows_calendar
    assert not read_options(["--day", "2026-11-22"], NOON.date()).follows_calendar
