"""A Chromium without network access beyond this machine, controlled by the DevTools protocol."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
from websockets.sync.client import ClientConnection, connect

PROGRAM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
_OPTIONS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-port=0",
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
)
_SECONDS = 120.0


@dataclass
class Tab:
    """A browser tab, and its events since the page was opened."""

    socket: ClientConnection
    events: list[dict[str, Any]] = field(default_factory=list)
    _last: int = 0

    def do(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command, and return its result."""
        self._last += 1
        self.socket.send(json.dumps({"id": self._last, "method": method, "params": parameters}))
        while True:
            message = self._receive()
            if message.get("id") == self._last:
                assert "error" not in message, message
                result: dict[str, Any] = message["result"]
                return result

    def open(self, url: str, width: int = 1400, dark: bool = False) -> None:
        """Open a page at a width, and wait until it is loaded."""
        self.do("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 600)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.do("Emulation.setEmulatedMedia", features=[scheme])
        self.events.clear()
        self.do("Page.navigate", url=url)
        while not self.event_parameters("Page.loadEventFired"):
            self._receive()

    def settle(self, quiet: float = 1, timeout: float = 15) -> None:
        """Wait until the page has sent no request for `quiet` seconds, at most `timeout`."""
        deadline = time.monotonic() + timeout
        last = time.monotonic()
        while (now := time.monotonic()) < deadline and now - last < quiet:
            try:
                message = json.loads(self.socket.recv(timeout=quiet))
            except TimeoutError:
                return
            self.events.append(message)
            if message["method"].startswith(("Network.request", "Network.response", "Network.loading")):
                last = time.monotonic()

    def hosts(self) -> set[str]:
        """The hosts of all requests since the page was opened, except requests that the page's policy blocked."""
        blocked_ids = {
            event["requestId"]
            for event in self.event_parameters("Network.loadingFailed")
            if event.get("blockedReason") == "csp"
        }
        sent = [
            event
            for event in self.event_parameters("Network.requestWillBeSent")
            if event["requestId"] not in blocked_ids
        ]
        urls = [event["request"]["url"] for event in sent]
        urls += [event["url"] for event in self.event_parameters("Network.webSocketCreated")]
        return {host for url in urls if (host := urlsplit(url.removeprefix("blob:")).hostname)}

    def event_parameters(self, method: str) -> list[dict[str, Any]]:
        """The parameters of all events of a method since the page was opened."""
        return [event["params"] for event in self.events if event["method"] == method]

    def evaluate(self, expression: str) -> Any:
        """Evaluate an expression of the test; the page itself cannot run scripts."""
        response = self.do("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in response, response
        return response["result"].get("value")

    def press(self, key: str) -> None:
        """Press a key, such as Tab."""
        code = {"Tab": 9, "Enter": 13}[key]
        text = {"text": "\r"} if key == "Enter" else {}
        for kind in ("keyDown", "keyUp"):
            self.do("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code, **text)

    def _receive(self) -> dict[str, Any]:
        message: dict[str, Any] = json.loads(self.socket.recv(timeout=_SECONDS))
        if "method" in message:
            self.events.append(message)
        return message


@contextmanager
def browser() -> Iterator[Tab]:
    """Start a browser, and yield a tab that records requests, log entries and the accessibility tree."""
    folder = Path(tempfile.mkdtemp(prefix="chromium-"))
    process, target = _start(folder)
    try:
        with connect(target["webSocketDebuggerUrl"], max_size=None, open_timeout=_SECONDS) as socket:
            tab = Tab(socket)
            for domain in ("Page", "Network", "Log", "Accessibility"):
                tab.do(f"{domain}.enable")
            yield tab
    finally:
        _end(process)
        shutil.rmtree(folder, ignore_errors=True)


def _start(folder: Path) -> tuple[subprocess.Popen[bytes], dict[str, Any]]:
    """Start Chromium with its profile in `folder`. Return it and its first tab."""
    assert PROGRAM
    profile, log = folder / "profile", folder / "log"
    command = [PROGRAM, *_OPTIONS, f"--user-data-dir={profile}", "about:blank"]
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True)
    target = _first_tab(process, profile)
    if target is None:
        _end(process)
        raise AssertionError(f"Chromium does not start: {log.read_text(errors='replace')[-2_000:]}")
    return process, target


def _end(process: subprocess.Popen[bytes]) -> None:
    """End Chromium and its processes, also if they hang."""
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(timeout=20)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _first_tab(process: subprocess.Popen[bytes], profile: Path) -> dict[str, Any] | None:
    """Return the first tab, or None if Chromium does not open one in time."""
    port_file = profile / "DevToolsActivePort"
    deadline = time.monotonic() + _SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        if port_file.exists() and (lines := port_file.read_text().splitlines()):
            with suppress(httpx.TransportError):
                tabs = httpx.get(f"http://127.0.0.1:{lines[0]}/json/list", timeout=_SECONDS).json()
                if pages := [tab for tab in tabs if tab["type"] == "page"]:
                    return dict(pages[0])
        time.sleep(0.05)
    return None
