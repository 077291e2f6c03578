"""A Chromium without network access beyond this machine, controlled by the DevTools protocol."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
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
    assert PROGRAM
    folder = Path(tempfile.mkdtemp(prefix="chromium-"))
    command = [PROGRAM, *_OPTIONS, f"--user-data-dir={folder}", "about:blank"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        (target,) = (target for target in _tabs(folder) if target["type"] == "page")
        with connect(target["webSocketDebuggerUrl"], max_size=None) as socket:
            tab = Tab(socket)
            for domain in ("Page", "Network", "Log", "Accessibility"):
                tab.do(f"{domain}.enable")
            yield tab
    finally:
        process.terminate()
        process.wait(timeout=60)
        shutil.rmtree(folder, ignore_errors=True)


def _tabs(folder: Path) -> list[dict[str, Any]]:
    port_file = folder / "DevToolsActivePort"
    deadline = time.monotonic() + _SECONDS
    while not (port_file.exists() and port_file.read_text().count("\n")):
        assert time.monotonic() < deadline, "Chromium does not start"
        time.sleep(0.05)
    port = port_file.read_text().splitlines()[0]
    tabs: list[dict[str, Any]] = httpx.get(f"http://127.0.0.1:{port}/json/list").json()
    return tabs
