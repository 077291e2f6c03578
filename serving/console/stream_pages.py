"""The state of the stream: consumers, topics, rejected messages and the hourly audit."""

from __future__ import annotations

from datetime import timedelta

from starlette.responses import Response

from serving.console.console_request import ConsoleRequest

_HOURS = 24


async def show_stream(request: ConsoleRequest) -> Response:
    """The last 24 hours of each topic, and fresh recommendations of the live publication."""
    data = await request.read(
        {
            "topics": "stream.find_topics",
            "hours": "stream.find_hours",
            "fresh": "stream.count_fresh_recommendations",
            "unconfirmed": "stream.count_unconfirmed_sessions",
        },
        since=request.now - timedelta(hours=_HOURS),
    )
    return request.page(
        "stream.html",
        "stream",
        "Stream",
        topics=data["topics"],
        by_hour=data["hours"],
        fresh=data["fresh"][0],
        unconfirmed=data["unconfirmed"][0]["sessions"],
        is_streaming=request.settings.is_streaming,
        hours=_HOURS,
    )
