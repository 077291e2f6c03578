"""Pictures of panels, drawn by another process and kept for as long as their values stay the same."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import orjson

from serving.dashboard.panel import Panel

_ROOT = Path(__file__).parent.parent.parent
_COMMAND = (sys.executable, "-m", "serving.dashboard.render_charts")
_SECONDS = 60.0
_PATIENCE = 6.0
# What it needs of the environment, and none of the secrets that are there.
_ENVIRONMENT = ("PATH", "HOME", "LANG", "LD_LIBRARY_PATH", "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")

ChartSvgs = dict[str, str]
log = logging.getLogger("serving.dashboard")


class ChartRenderer:
    """Draws what has changed since the last time, one drawing at a time. Nobody waits for longer than `patience`."""

    def __init__(
        self, command: Sequence[str] = _COMMAND, seconds: float = _SECONDS, patience: float = _PATIENCE
    ) -> None:
        self._command = command
        self._seconds = seconds
        self._patience = patience
        self._kept: dict[str, tuple[str, ChartSvgs]] = {}
        self._drawing: asyncio.Task[None] | None = None

    async def render(self, panels: Sequence[Panel]) -> dict[str, ChartSvgs]:
        """The SVG of each panel that has something to draw, by width. Without those that could not be drawn in time."""
        wanted = {panel.key: (_digest(panel), panel.chart) for panel in panels if panel.chart}
        missing = {key: chart for key, (digest, chart) in wanted.items() if not self._has(key, digest)}
        if missing:
            if self._drawing is None or self._drawing.done():
                digests = {key: wanted[key][0] for key in missing}
                self._drawing = asyncio.create_task(self._draw(missing, digests))
            await asyncio.wait((self._drawing,), timeout=self._patience)
        return {key: self._kept[key][1] for key, (digest, _) in wanted.items() if self._has(key, digest)}

    def _has(self, key: str, digest: str) -> bool:
        return key in self._kept and self._kept[key][0] == digest

    async def _draw(self, missing: Mapping[str, object], digests: Mapping[str, str]) -> None:
        try:
            drawn = await self._ask(missing)
        except OSError as error:  # no memory, or no process left to begin another
            log.warning("charts were not drawn: %s", error.strerror)
            return
        self._kept |= {key: (digests[key], charts) for key, charts in drawn.items()}

    async def _ask(self, missing: object) -> dict[str, ChartSvgs]:
        environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            *self._command, stdin=pipe, stdout=pipe, stderr=pipe, cwd=_ROOT, env=environment
        )
        try:
            async with asyncio.timeout(self._seconds):
                output, said = await process.communicate(orjson.dumps(missing))
            if process.returncode == 0:
                drawn: dict[str, ChartSvgs] = orjson.loads(output)
                return drawn
            why = f"exit {process.returncode}, {said.decode(errors='replace').strip().rpartition(chr(10))[2]}"
        except TimeoutError:
            why = f"it took more than {self._seconds:g} s"
        except orjson.JSONDecodeError:
            why = "what came is no JSON"
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        log.warning("charts were not drawn: %s", why)
        return {}


def _digest(panel: Panel) -> str:
    return hashlib.sha256(orjson.dumps(panel.chart)).hexdigest()
