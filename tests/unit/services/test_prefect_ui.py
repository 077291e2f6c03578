"""The policy that restricts pages of Prefect's UI to their own server."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.data_layout import DataLayout
from services import prefect_ui

PAGE = '<!DOCTYPE html>\n<html lang="en">\n  <head>\n    <meta charset="UTF-8" />\n  </head>\n</html>\n'


@pytest.mark.parametrize(
    ("api_url", "connect_sources"),
    [
        ("http://127.0.0.1:4200/api", "connect-src 'self' data: blob: http://127.0.0.1:4200 ws://127.0.0.1:4200;"),
        ("https://p.example/api", "connect-src 'self' data: blob: https://p.example wss://p.example;"),
    ],
)
def test_each_page_has_the_policy_once(api_url: str, connect_sources: str, tmp_path: Path) -> None:
    pages = [DataLayout(tmp_path).prefect_ui / version / "index.html" for version in ("v1", "v2")]
    for page in pages:
        page.parent.mkdir(parents=True)
        page.write_text(PAGE)
    assert prefect_ui.restrict_pages(tmp_path, "http://127.0.0.1:9/api") == 2  # the address changes
    assert prefect_ui.restrict_pages(tmp_path, api_url) == 2
    assert prefect_ui.restrict_pages(tmp_path, api_url) == 0
    for page in pages:
        text = page.read_text()
        assert text.count("Content-Security-Policy") == 1
        assert connect_sources in text
        assert text.index("Content-Security-Policy") < text.index("charset")
        assert [line for line in text.splitlines() if "Policy" not in line] == PAGE.splitlines()


def test_no_pages_change_nothing(tmp_path: Path) -> None:
    assert prefect_ui.restrict_pages(tmp_path, "http://127.0.0.1:4200/api") == 0
