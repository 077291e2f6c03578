"""Pictures of panels, drawn by another process and kept for as long as their values stay the same."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import orjson

from serving.dashboard.panel import Panel

_ROOT = Path(__file__).parent.parent.parent
_COMMAND = (sys.executable, "-m", "serving.dashboard.draw")
_SECONDS = 30.0
# What it needs of the environment, and none of the secrets that are there.
_ENVIRONMENT = ("PATH", "HOME", "LANG", "LD_LIBRARY_PATH", "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")

Pictures = dict[str, str]
log = logging.getLogger("serving.dashboard")


class Drawer:
    """Draws what has changed since the last time."""

    def __init__(self, command: Sequence[str] = _COMMAND, seconds: float = _SECONDS) -> None:
        self._command = command
        self._seconds = seconds
        self._kept: dict[str, tuple[str, Pictures]] = {}

    async def draw(self, panels: Sequence[Panel]) -> dict[str, Pictures]:
        """The SVG of each panel that has something to draw, by width. Without those that could not be drawn."""
        digests = {panel.key: _digest(panel) for panel in panels if panel.drawing}
        missing = {
            panel.key: panel.drawing
            for panel in panels
            if panel.drawing and not self._has(panel.key, digests[panel.key])
        }
        if missing:
            for key, pictures in (await self._ask(missing)).items():
                self._kept[key] = (digests[key], pictures)
        return {key: self._kept[key][1] for key, digest in digests.items() if self._has(key, digest)}

    def _has(self, key: str, digest: str) -> bool:
        return key in self._kept and self._kept[key][0] == digest

    async def _ask(self, missing: object) -> dict[str, Pictures]:
        environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            *self._command, stdin=pipe, stdout=pipe, stderr=pipe, cwd=_ROOT, env=environment
        )
        try:
            async with asyncio.timeout(self._seconds):
                output, said = await process.communicate(orjson.dumps(missing))
            if process.returncode == 0:
                drawn: dict[str, Pictures] = orjson.loads(output)
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
    return hashlib.sha256(orjson.dumps(panel.drawing)).hexdigest()
