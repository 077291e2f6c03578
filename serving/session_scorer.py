"""Recommend to sessions without an account: a process of its own holds the live model (`recommender/sessions.py`)."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from serving.problems import SESSIONS_UNAVAILABLE, Problem

_ROOT = Path(__file__).parent.parent
_COMMAND = (sys.executable, "-m", "recommender.sessions")
_MAX_SECONDS = 1.5
_MAX_WAITING = 256
_RESTART_SECONDS = 5.0
_RETRY_AFTER = "2"


@dataclass(frozen=True)
class SessionTracks:
    """Tracks that the model of a publication recommends to a session, best first; none if it knows no played track."""

    publication_id: int
    known_tracks: int
    track_ids: Sequence[int]
    scores: Sequence[float]


class SessionScorer:
    """Starts the process with the first request, and again after it ended. A response takes at most 1.5 seconds.

    At most 256 requests wait for the process. A request that timed out waits until the process has answered it.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._starting = asyncio.Lock()
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._last_id = 0
        self._start_after = 0.0

    async def recommend(self, tracks: Sequence[int], exclude: Sequence[int], n: int) -> SessionTracks:
        """Recommend `n` tracks. Raises Problem while the model cannot be used."""
        process = await self._running_process()
        if process.stdin is None:
            raise _unavailable("the process has ended")
        if len(self._waiting) >= _MAX_WAITING:
            raise _unavailable("too many sessions wait")
        self._last_id += 1
        request_id = self._last_id
        answer = self._waiting[request_id] = asyncio.get_running_loop().create_future()
        request = {"id": request_id, "tracks": list(tracks), "exclude": list(exclude), "n": n}
        try:
            process.stdin.write(orjson.dumps(request) + b"\n")
            async with asyncio.timeout(_MAX_SECONDS):
                content = await answer
        except (TimeoutError, ConnectionError):
            raise _unavailable("it did not answer in time") from None
        if "error" in content:
            raise _unavailable(content["error"])
        return SessionTracks(
            content["publication_id"], content["known_tracks"], content["track_ids"], content["scores"]
        )

    async def close(self) -> None:
        """End the process."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()
        if self._reader is not None:
            await self._reader

    async def _running_process(self) -> asyncio.subprocess.Process:
        async with self._starting:
            if self._process is None or self._process.returncode is not None:
                if time.monotonic() < self._start_after:
                    raise _unavailable("it ended, and is started again in some seconds")
                self._start_after = time.monotonic() + _RESTART_SECONDS
                pipe = asyncio.subprocess.PIPE
                try:
                    self._process = await asyncio.create_subprocess_exec(
                        *_COMMAND, stdin=pipe, stdout=pipe, cwd=_ROOT, env=os.environ | self._environment, limit=1 << 20
                    )
                except OSError as error:
                    raise _unavailable(f"its process cannot be started ({error.strerror})") from None
                self._waiting = {}
                self._reader = asyncio.create_task(self._read(self._process, self._waiting))
            return self._process

    async def _read(
        self, process: asyncio.subprocess.Process, waiting: dict[int, asyncio.Future[dict[str, Any]]]
    ) -> None:
        """Pass each answer to its request, and an error to those that wait when the process ends."""
        if process.stdout is None:
            return
        async for line in process.stdout:
            content = orjson.loads(line)
            answer = waiting.pop(content["id"], None)
            if answer is not None and not answer.done():
                answer.set_result(content)
        await process.wait()
        for answer in waiting.values():
            if not answer.done():
                answer.set_result({"error": "its process has ended"})


def _unavailable(reason: str) -> Problem:
    """The problem; only the log has the reason, which may name a file."""
    headers = {"Retry-After": _RETRY_AFTER}
    return Problem(SESSIONS_UNAVAILABLE, headers=headers, why=reason)
