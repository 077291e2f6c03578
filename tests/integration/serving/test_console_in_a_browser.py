"""The console in Chromium: widths, keyboard, screen reader (axe), and no request to another host."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from core.database import connect
from tests.conftest import ROOT, temporary_database
from tests.integration.serving import browser
from tests.integration.serving.api import Api, serving
from tests.integration.serving.browser import Tab
from tests.integration.serving.console_history import break_last_night, console_history
from tests.integration.serving.run_history import insert_streamed_day
from tests.integration.serving.test_dashboard import INCIDENT

pytestmark = pytest.mark.skipif(browser.PROGRAM is None, reason="no Chromium on this machine")
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
_AXE = (ROOT / "tests/data/axe/axe.min.js").read_text()
_VIOLATIONS = """
axe.run(document, {resultTypes: ["violations"]}).then(results => JSON.stringify(results.violations
    .filter(violation => ["serious", "critical"].includes(violation.impact))
    .map(violation => [violation.id, violation.nodes[0].html.slice(0, 200)])))
"""
PAGES = (
    "/console/sign-in",
    "/console",
    "/console/batches",
    "/console/batches/listen_history-2026-11-22",
    "/console/expectations",
    "/console/expectations/listen_history/rejects_are_few",
    "/console/figures/listen_history/sessions",
    "/console/models",
    "/console/models/15",
    "/console/explore?track=Title",
    "/console/explore/users/5",
    "/console/explore/tracks/7",
    "/console/experiments",
    "/console/experiments/1",
    "/console/stream",
    "/console/actions",
    "/console/actions/accept",
    "/console/actions/snooze",
    "/console/runbook",
)


@pytest.fixture(scope="module")
def api(postgres: str, _template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """The API after thirty nights, the last of them broken, with an incident and a stream."""
    data_dir = tmp_path_factory.mktemp("data")
    (data_dir / "clock").write_text(NOW.isoformat())
    (data_dir / "alerts").mkdir()
    (data_dir / "alerts" / "open.json").write_text(json.dumps([INCIDENT]))
    with temporary_database(postgres, _template) as url:
        with connect(url) as connection:
            console_history(connection, NOW, 30)
            break_last_night(connection, NOW)
            insert_streamed_day(connection, NOW)
        with serving(url, data_dir=data_dir, clock_file=data_dir / "clock") as api:
            yield api


@pytest.fixture(scope="module")
def tab(api: Api) -> Iterator[Tab]:
    """A signed-in tab. The charts of the health page are drawn."""
    response = httpx.post(f"{api.url}/console/sign-in", data={"key": api.key}, timeout=60)
    cookie = response.cookies["moovitamix_console"]
    deadline = time.monotonic() + 600
    while "not ready yet" in httpx.get(f"{api.url}/console", cookies={"moovitamix_console": cookie}, timeout=60).text:
        assert time.monotonic() < deadline
    with browser.browser() as tab:
        tab.do("Network.setCookie", name="moovitamix_console", value=cookie, url=f"{api.url}/console")
        yield tab


@pytest.mark.parametrize("path", PAGES)
def test_page_fits_and_is_accessible(api: Api, tab: Tab, path: str) -> None:
    for width, dark in ((390, True), (900, False), (1600, False)):
        tab.do("Page.setBypassCSP", enabled=False)
        tab.open(f"{api.url}{path}", width, dark)
        assert tab.evaluate("document.documentElement.scrollWidth") <= width
        assert tab.hosts() == {"127.0.0.1"}
        assert tab.event_parameters("Log.entryAdded") == []
        if width != 900:
            assert serious_violations(tab) == []


def serious_violations(tab: Tab) -> list[Any]:
    """The serious and critical findings of axe. The DevTools protocol runs scripts in spite of the page's policy."""
    tab.do("Runtime.evaluate", expression=_AXE)
    answer = tab.do("Runtime.evaluate", expression=_VIOLATIONS, awaitPromise=True, returnByValue=True)
    found: list[Any] = json.loads(answer["result"]["value"])
    return found


def test_person_signs_in_acts_and_signs_out_by_keyboard(api: Api) -> None:
    def type_into(field: str, text: str) -> None:
        tab.evaluate(f"document.getElementById({field!r}).focus()")
        tab.do("Input.insertText", text=text)

    def wait_for(heading: str) -> None:
        deadline = time.monotonic() + 60
        while heading not in str(tab.evaluate("document.querySelector('h1')?.textContent")):
            assert time.monotonic() < deadline, tab.evaluate("document.body.innerText")
            time.sleep(0.1)

    with browser.browser() as tab:
        tab.open(f"{api.url}/console/actions/snooze?target=k", 390)
        wait_for("Sign in")
        assert serious_violations(tab) == []
        type_into("key", api.key)
        tab.press("Enter")
        wait_for("Snooze an incident")
        type_into("reason", "a new disk comes tomorrow")
        tab.evaluate("document.getElementById('confirmed').click()")
        tab.press("Tab")
        tab.evaluate("document.querySelector('main button').focus()")
        tab.press("Enter")
        wait_for("Actions")
        assert "a new disk comes tomorrow" in tab.evaluate("document.querySelector('table').innerText")
        assert tab.evaluate("document.cookie") == ""  # no script can read it
        tab.evaluate("document.querySelector('.bar button').focus()")
        tab.press("Enter")
        wait_for("Sign in")
        tab.open(f"{api.url}/console/actions", 390)
        wait_for("Sign in")
