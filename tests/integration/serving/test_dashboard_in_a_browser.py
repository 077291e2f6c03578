"""The health page in Chromium: phone width, dark mode, keyboard and screen reader."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from core.database import connect
from tests.conftest import temporary_database
from tests.integration.serving import browser
from tests.integration.serving.api import Api, serving
from tests.integration.serving.browser import Tab
from tests.integration.serving.run_history import insert_history, insert_streamed_day
from tests.integration.serving.test_dashboard import load_page

pytestmark = pytest.mark.skipif(browser.PROGRAM is None, reason="no Chromium on this machine")
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
_CLIPPED_CHART_TEXTS = """
[...document.querySelectorAll("svg")].filter(svg => svg.getBoundingClientRect().width).flatMap(svg => {
    const frame = svg.getBoundingClientRect();
    return [...svg.querySelectorAll("text")].map(text => [text.textContent, text.getBoundingClientRect()])
        .filter(([, box]) => box.left < frame.left - 1 || box.right > frame.right + 1
            || box.top < frame.top - 1 || box.bottom > frame.bottom + 1).map(([name]) => name)
})
"""
_CHART_SIZES = """
[...document.querySelectorAll("svg")].map(svg => [svg.getBoundingClientRect().width, svg.viewBox.baseVal.width])
    .filter(([shown]) => shown)
"""


@pytest.fixture(scope="module")
def api(postgres: str, _template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """The API on thirty days, one of them with a blocked batch and an alarm, and on a day of streaming."""
    data_dir = tmp_path_factory.mktemp("data")
    (data_dir / "clock").write_text(NOW.isoformat())
    with temporary_database(postgres, _template) as url:
        with connect(url) as connection:
            insert_history(connection, NOW, 30)
            insert_streamed_day(connection, NOW)
            connection.execute("update ops.batches set status = 'blocked' where batch_id = 'tracks-2026-11-22'")
            connection.execute(
                "insert into ml.alarms (metric, day, value, baseline, statistic, publication_id, raised_at)"
                " select 'ndcg@20', '2026-11-19', 0.1, 0.2, 6, max(publication_id), %s from ml.publications",
                [NOW],
            )
        with serving(
            url, data_dir=data_dir, clock_file=data_dir / "clock", data_docs_web_url="http://127.0.0.1:9"
        ) as api:
            load_page(api)  # wait for the charts
            yield api


@pytest.fixture(scope="module")
def tab(api: Api) -> Iterator[Tab]:
    """A tab that sends the key as an HTTP Basic password."""
    credentials = base64.b64encode(f"on-call:{api.key}".encode()).decode()
    with browser.browser() as tab:
        tab.do("Network.setExtraHTTPHeaders", headers={"Authorization": f"Basic {credentials}"})
        yield tab


@pytest.mark.parametrize("width", [360, 390, 800, 1400])
def test_page_fits_every_width_without_clipped_text(api: Api, tab: Tab, width: int) -> None:
    tab.open(f"{api.url}/dashboard", width)
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    assert tab.evaluate(_CLIPPED_CHART_TEXTS) == []
    sizes = tab.evaluate(_CHART_SIZES)
    assert len(sizes) == 10
    assert all(shown >= 0.93 * drawn for shown, drawn in sizes), sizes


def test_page_loads_no_other_resource_and_logs_no_error(api: Api, tab: Tab, tmp_path: Path) -> None:
    tab.open(f"{api.url}/dashboard")
    assert [request["request"]["url"] for request in tab.event_parameters("Network.requestWillBeSent")] == [
        f"{api.url}/dashboard"
    ]
    assert tab.event_parameters("Log.entryAdded") == []
    saved_page = tmp_path / "health.html"
    saved_page.write_text(api.get("/dashboard").text)
    tab.open(saved_page.as_uri())
    assert [request["request"]["url"] for request in tab.event_parameters("Network.requestWillBeSent")] == [
        saved_page.as_uri()
    ]
    assert (
        tab.evaluate("getComputedStyle(document.querySelector('h1')).fontSize") == "30px"
    )  # the embedded style applies


def test_colours_in_light_and_dark_mode(api: Api, tab: Tab) -> None:
    background = "getComputedStyle(document.body).backgroundColor"
    bar = "getComputedStyle(document.querySelector('.wide [fill=\"var(--accent)\"]')).fill"
    tab.open(f"{api.url}/dashboard")
    light = tab.evaluate(background), tab.evaluate(bar)
    tab.open(f"{api.url}/dashboard", dark=True)
    assert light == ("rgb(255, 255, 255)", "rgb(36, 87, 179)")
    assert (tab.evaluate(background), tab.evaluate(bar)) == ("rgb(20, 24, 31)", "rgb(134, 176, 255)")
    dark = {"name": "prefers-color-scheme", "value": "dark"}
    tab.do("Emulation.setEmulatedMedia", media="print", features=[dark])
    assert (tab.evaluate(background), tab.evaluate(bar)) == light  # print keeps a white background
    tab.do("Emulation.setEmulatedMedia", media="")


def test_the_keyboard_reaches_every_link_and_table_in_order(api: Api, tab: Tab) -> None:
    tab.open(f"{api.url}/dashboard", 390)
    expected = tab.evaluate(
        "[...document.querySelectorAll('a, summary, [tabindex=\"0\"]')].filter(element => element.checkVisibility())"
        ".map(element => element.textContent.trim().slice(0, 60))"
    )
    assert expected[0] == "Skip to the details"
    reached = []
    for _ in expected:
        tab.press("Tab")
        reached.append(tab.evaluate("document.activeElement.textContent.trim().slice(0, 60)"))
    assert reached == expected
    assert sum(name.startswith("Values of") for name in reached) == 10
    tab.evaluate("document.querySelector('summary').focus()")
    tab.press("Enter")
    assert tab.evaluate("document.querySelector('details').open") is True
    assert tab.evaluate("document.querySelector('details td').checkVisibility()") is True


def test_screen_readers_get_headings_and_charts(api: Api, tab: Tab) -> None:
    tab.open(f"{api.url}/dashboard", 390)
    nodes = [node for node in tab.do("Accessibility.getFullAXTree")["nodes"] if not node["ignored"]]

    def named(*roles: str) -> list[str]:
        matching: list[Any] = [node for node in nodes if node["role"]["value"] in roles]
        return [str(node.get("name", {}).get("value", "")) for node in matching]

    headings = named("heading")
    assert headings[0].endswith("Needs attention")
    assert "Landed rows and blocked batches" in headings
    charts = named("image", "img")
    assert charts == [name for name in named("figure") if name in charts]
    assert len(charts) == 10 and all(charts)
    assert named("main", "banner", "contentinfo") and all(named("region"))
