"""The pages of Data Docs in Chromium: phone width, both schemes, no other host."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.ingest import main as ingest
from tests.conftest import BASE_DAY, MockApi
from tests.integration.serving import browser
from tests.integration.serving.browser import Tab

pytestmark = pytest.mark.skipif(browser.PROGRAM is None, reason="no Chromium on this machine")


@pytest.fixture(scope="module")
def tab() -> Iterator[Tab]:
    with browser.browser() as opened:
        yield opened


def test_pages_fit_a_phone_and_say_what_to_do(
    tab: Tab, api: MockApi, environment: Path, prefect_server: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("THRESHOLD_WARN_TRACK_SECONDS", "1")
    api.set_faults({"endpoint": "users", "bad_rows": {"id_null": 40}})
    assert ingest(["--day", BASE_DAY, "--endpoint", "tracks", "--endpoint", "users"]) == 1
    docs = environment / "data_docs"
    pages = [docs / "index.html", *sorted((docs / "validations").glob("*.html"))]
    assert len(pages) == 3
    for page in pages:
        for width, dark in ((390, False), (390, True), (1400, False)):
            tab.open(page.as_uri(), width, dark)
            shot = tab.do("Page.captureScreenshot", captureBeyondViewport=True)
            (tmp_path / f"{page.stem}-{width}-{dark}.png").write_bytes(base64.b64decode(shot["data"]))
            assert tab.evaluate("document.documentElement.scrollWidth") <= width, page.name
            assert tab.evaluate("innerWidth") == width, page.name
        text = tab.evaluate("document.body.innerText")
        assert "Run Info" not in text
        assert page.name == "index.html" or "Next" in text
