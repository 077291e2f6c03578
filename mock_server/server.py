"""The server process: it listens until SIGTERM or SIGINT."""

from __future__ import annotations

import asyncio
import datetime as dt
import gc
import signal
from collections.abc import Awaitable, Callable

from mock_server.command_line import MockServerOptions
from mock_server.connection import ClientConnection
from mock_server.control import RequestRouter
from mock_server.live_sessions import LiveSessions
from mock_server.timeline import Timeline


async def serve(options: MockServerOptions) -> None:
    """Draw the data and serve until SIGTERM or SIGINT. Raises OSError if it cannot listen."""
    router = RequestRouter(
        Timeline(options.plan), options.day, options.faults, options.token, LiveSessions(options.plays_file)
    )
    gc.freeze()
    loop = asyncio.get_running_loop()
    stop_requested = asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stop_requested.set)
    server = await loop.create_server(lambda: ClientConnection(router.handle), options.host, options.port, backlog=1024)
    port = server.sockets[0].getsockname()[1]
    url = f"http://{options.host_in_url}:{port}"
    print(f"mock API ready: {url}", flush=True)
    print(f"first page: {url}/tracks?page=1", flush=True)
    calendar = (
        asyncio.create_task(follow_calendar(router, _utc_now, asyncio.sleep)) if options.follows_calendar else None
    )
    await stop_requested.wait()
    if calendar:
        calendar.cancel()
    server.close()


async def follow_calendar(
    router: RequestRouter, clock: Callable[[], dt.datetime], sleep: Callable[[float], Awaitable[object]]
) -> None:
    """Change to the next day at each midnight (UTC). Never returns."""
    while True:
        now = clock()
        midnight = dt.datetime.combine(now.date() + dt.timedelta(days=1), dt.time(), dt.UTC)
        await sleep((midnight - now).total_seconds())
        router.change_day(midnight.date())


def _utc_now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)
