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
_OPEN_FIRST_TWO = "[...document.querySelectorAll('.opblock-summary-control')].slice(0, 2).forEach(row => row.click())"
_OVERFLOWING_ELEMENTS = """
[...document.querySelectorAll("#swagger-ui *")]
    .filter(element => element.getBoundingClientRect().right > innerWidth + 1)
    .filter(element => !element.closest("pre, .highlight-code, .microlight, svg"))
    .map(element => `${element.tagName}.${element.className}`).slice(0, 5)
"""


# Elements with text of a contrast below 4.5 (WCAG 2.2, 1.4.3).
_FAINT = """(() => {
    const color = text => (([r, g, b, a = 1]) => [r, g, b, a])(text.match(/[0-9.]+/g).map(Number));
    const blend = (top, below) => [0, 1, 2].map(i => top[i] * top[3] + below[i] * (1 - top[3]));
    const page = document.documentElement.classList.contains("dark-mode") ? [28, 32, 34] : [255, 255, 255];
    const behind = element => element === null ? page
        : blend(color(getComputedStyle(element).backgroundColor), behind(element.parentElement));
    const linear = value => value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
    const luminance = rgb => rgb.map(value => linear(value / 255))
        .reduce((sum, value, i) => sum + value * [0.2126, 0.7152, 0.0722][i], 0);
    const contrast = element => {
        const below = behind(element);
        const [low, high] = [blend(color(getComputedStyle(element).color), below), below].map(luminance).sort();
        return (high + 0.05) / (low + 0.05);
    };
    return [...document.querySelectorAll("#swagger-ui *")]
        .filter(element => [...element.childNodes].some(node => node.nodeType === 3 && node.textContent.trim()))
        .filter(element => element.getClientRects().length && contrast(element) < 4.5)
        .map(element => `${element.tagName}.${element.className} ${element.textContent.slice(0, 20)}`);
})()"""
# Whether each path is below its method.
_PATHS_BELOW = """[...document.querySelectorAll(".opblock-summary")].map(row =>
    row.querySelector(".opblock-summary-path").getBoundingClientRect().top
    >= row.querySelector(".opblock-summary-method").getBoundingClientRect().bottom)"""
_COMMAND_STYLE = """(style => [style.whiteSpace, style.wordBreak])(
    getComputedStyle(document.querySelector(".opblock-description code.language-sh, .opblock-description pre code")))"""
_ADD_ITEM = "document.querySelector('.json-schema-form-item-add').click()"


@pytest.fixture(scope="module")
def tab() -> Iterator[Tab]:
    with browser.browser() as new_tab:
        yield new_tab


def wait_for(tab: Tab, expression: str) -> None:
    deadline = time.monotonic() + _SECONDS
    while not tab.evaluate(expression):
        assert time.monotonic() < deadline, expression
        time.sleep(0.1)


@pytest.mark.parametrize(("width", "dark"), [(320, False), (390, False), (390, True), (1280, False), (1280, True)])
def test_docs_page_is_readable(tab: Tab, world: Api, tmp_path: Path, width: int, dark: bool) -> None:
    tab.open(f"{world.url}/docs", width, dark)
    wait_for(tab, "document.querySelectorAll('.opblock').length >= 13")
    tab.evaluate(_OPEN_FIRST_TWO)
    wait_for(tab, "document.querySelectorAll('.opblock-body .responses-table').length == 2")
    tab.settle()
    screenshot = tab.do("Page.captureScreenshot", captureBeyondViewport=True)
    (tmp_path / f"docs-{width}-{dark}.png").write_bytes(base64.b64decode(screenshot["data"]))

    assert tab.hosts() == {"127.0.0.1"}
    assert [entry["entry"]["text"] for entry in tab.event_parameters("Log.entryAdded")] == []
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    assert tab.evaluate(_OVERFLOWING_ELEMENTS) == []
    assert tab.evaluate(_FAINT) == []
    assert set(tab.evaluate(_PATHS_BELOW)) == {width < 640}
    assert tab.evaluate(_COMMAND_STYLE) == ["pre", "normal"]
    # The page of a browser is white where no element has a background.
    color = tab.evaluate("getComputedStyle(document.body).backgroundColor")
    assert color == ("rgb(28, 32, 34)" if dark else "rgba(0, 0, 0, 0)")


def test_form_has_ids_of_the_example_and_an_item_to_change(tab: Tab, world: Api) -> None:
    tab.open(f"{world.url}/docs")
    wait_for(tab, "document.querySelectorAll('.opblock').length >= 13")
    tab.evaluate(_OPEN_FIRST_TWO)
    wait_for(tab, "document.querySelectorAll('.json-schema-form-item-add').length == 1")
    assert tab.evaluate("document.querySelector('[data-param-name=user_id] input').value") == "5"
    assert tab.evaluate("document.querySelectorAll('[data-param-name=n] .parameter__deprecated').length") == 1
    tab.evaluate(_ADD_ITEM)
    wait_for(tab, "document.querySelectorAll('[data-param-name=exclude] input').length == 1")
    assert tab.evaluate("document.querySelector('[data-param-name=exclude] input').value") == "31"
