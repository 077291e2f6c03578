"""Render the charts of panels in another process, and cache them until their values change."""

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
_TIMEOUT_SECONDS = 300.0
_MAX_WAIT_SECONDS = 6.0
# The variables that the process needs. Secrets are not passed on.
_ENVIRONMENT = ("PATH", "HOME", "LANG", "LD_LIBRARY_PATH", "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")

ChartSvgs = dict[str, str]
log = logging.getLogger("serving.dashboard")


class ChartRenderer:
    """Render changed charts, one process at a time. A caller waits at most `max_wait` seconds."""

    def __init__(
        self, command: Sequence[str] = _COMMAND, seconds: float = _TIMEOUT_SECONDS, max_wait: float = _MAX_WAIT_SECONDS
    ) -> None:
        self._command = command
        self._seconds = seconds
        self._max_wait = max_wait
        self._cached: dict[str, tuple[str, ChartSvgs]] = {}
        self._render_task: asyncio.Task[None] | None = None

    async def render(self, panels: Sequence[Panel]) -> dict[str, ChartSvgs]:
        """The SVGs of each panel with a chart, by width. Charts that are not ready in time are left out."""
        requested = {panel.key: (_digest(panel), panel.chart) for panel in panels if panel.chart}
        missing = {key: chart for key, (digest, chart) in requested.items() if not self._is_cached(key, digest)}
        if missing:
            if self._render_task is None or self._render_task.done():
                digests = {key: requested[key][0] for key in missing}
                self._render_task = asyncio.create_task(self._render(missing, digests))
            await asyncio.wait((self._render_task,), timeout=self._max_wait)
        return {key: self._cached[key][1] for key, (digest, _) in requested.items() if self._is_cached(key, digest)}

    def _is_cached(self, key: str, digest: str) -> bool:
        return key in self._cached and self._cached[key][0] == digest

    async def _render(self, missing: Mapping[str, object], digests: Mapping[str, str]) -> None:
        try:
            svgs = await self._run_process(missing)
        except OSError as error:  # not enough memory or processes
            log.warning("charts were not rendered: %s", error.strerror)
            return
        self._cached |= {key: (digests[key], charts) for key, charts in svgs.items()}

    async def _run_process(self, missing: object) -> dict[str, ChartSvgs]:
        environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            *self._command, stdin=pipe, stdout=pipe, stderr=pipe, cwd=_ROOT, env=environment
        )
        try:
            async with asyncio.timeout(self._seconds):
                output, errors = await process.communicate(orjson.dumps(missing))
            if process.returncode == 0:
                svgs: dict[str, ChartSvgs] = orjson.loads(output)
                return svgs
            reason = f"exit {process.returncode}, {errors.decode(errors='replace').strip().rpartition(chr(10))[2]}"
        except TimeoutError:
            reason = f"it took longer than {self._seconds:g} s"
        except orjson.JSONDecodeError:
            reason = "the output is not JSON"
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        log.warning("charts were not rendered: %s", reason)
        return {}


def _digest(panel: Panel) -> str:
    return hashlib.sha256(orjson.dumps(panel.chart)).hexdigest()
