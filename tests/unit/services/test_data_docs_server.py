"""The server of Data Docs answers HEAD like GET."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import requests

from core.file_store import FolderStore
from services.data_docs import server


@pytest.mark.parametrize("pages", [(), ("index.html",)], ids=["before the first audit", "with pages"])
def test_head_answers_like_get(pages: tuple[str, ...], tmp_path: Path) -> None:
    for page in pages:
        (tmp_path / page).write_text("<p>audited")
    running = server(FolderStore(tmp_path), "127.0.0.1", 0)
    threading.Thread(target=running.serve_forever, args=(0.05,), daemon=True).start()
    try:
        (tmp_path.parent / "secret.html").write_text("outside")
        outside = requests.Request("GET", f"http://127.0.0.1:{running.server_port}/").prepare()
        for path in ("/../secret.html", "/%2e%2e/secret.html", "//secret.html", "/.hidden"):
            outside.url = f"http://127.0.0.1:{running.server_port}{path}"
            assert requests.Session().send(outside, timeout=60).status_code == 404
        for path in ("", "index.html", "nothing.html"):
            url = f"http://127.0.0.1:{running.server_port}/{path}"
            get, head = requests.get(url, timeout=60), requests.head(url, timeout=60)
            assert (path, head.status_code, head.content) == (path, get.status_code, b"")
            assert head.headers.get("Content-Type") == get.headers.get("Content-Type")
    finally:
        running.shutdown()
        running.server_close()
