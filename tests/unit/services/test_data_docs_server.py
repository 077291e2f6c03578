"""The server of Data Docs answers HEAD like GET."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import requests

from services.data_docs import server


@pytest.mark.parametrize("pages", [(), ("index.html",)], ids=["before the first audit", "with pages"])
def test_head_answers_like_get(pages: tuple[str, ...], tmp_path: Path) -> None:
    for page in pages:
        (tmp_path / page).write_text("<p>audited")
    running = server(tmp_path, "127.0.0.1", 0)
    threading.Thread(target=running.serve_forever, args=(0.05,), daemon=True).start()
    try:
        for path in ("", "index.html", "nothing.html"):
            url = f"http://127.0.0.1:{running.server_port}/{path}"
            get, head = requests.get(url, timeout=5), requests.head(url, timeout=5)
            assert (path, head.status_code, head.content) == (path, get.status_code, b"")
            assert head.headers.get("Content-Type") == get.headers.get("Content-Type")
    finally:
        running.shutdown()
        running.server_close()
