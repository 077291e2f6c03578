"""The documentation page in Chromium: phone width, dark mode, no other host."""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.serving import browser
from tests.integration.serving.api import Api
from tests.integration.serving.browser import Tab

pytestmark = pytest.mark.skipif(browser.PROGRAM is None, reason="no Chromium on this machine")
_SECONDS = 300.0
_OPEN_FIRST = "document.querySelector('.opblock-summary-control').click()"
_WIDER = """
[...document.querySelectorAll("#swagger-ui *")]
    .filter(element => element.getBoundingClientRect().right > innerWidth + 1)
    .filter(element => !element.closest("pre, .highlight-code, .microlight, svg"))
    .map(element => `${element.tagName}.${element.className}`).slice(0, 5)
"""


@pytest.fixture(scope="module")
def tab() -> Iterator[Tab]:
    with browser.browser() as opened:
        yield opened


def wait_for(tab: Tab, expression: str) -> None:
    until = time.monotonic() + _SECONDS
    while not tab.evaluate(expression):
        assert time.monotonic() < until, expression
        time.sleep(0.1)


@pytest.mark.parametrize(("width", "dark"), [(390, False), (390, True), (1400, True)])
def test_docs_page_is_readable(tab: Tab, world: Api, tmp_path: Path, width: int, dark: bool) -> None:
    tab.open(f"{world.url}/docs", width, dark)
    wait_for(tab, "document.querySelectorAll('.opblock').length >= 13")
    tab.evaluate(_OPEN_FIRST)
    wait_for(tab, "document.querySelectorAll('.opblock-body .parameters-container, .opblock-body table').length > 0")
    tab.settle()
    shot = tab.do("Page.captureScreenshot", captureBeyondViewport=True)
    (tmp_path / f"docs-{width}-{dark}.png").write_bytes(base64.b64decode(shot["data"]))

    assert tab.hosts() == {"127.0.0.1"}
    assert [entry["entry"]["text"] for entry in tab.event_parameters("Log.entryAdded")] == []
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    assert tab.evaluate(_WIDER) == []
    # The page of a browser is white where no element has a background.
    color = tab.evaluate("getComputedStyle(document.body).backgroundColor")
    assert color == ("rgb(28, 32, 34)" if dark else "rgba(0, 0, 0, 0)")
