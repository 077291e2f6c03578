"""Restricts the pages of Prefect's UI to their own server.

Prefect has two UIs. The older UI, the default here, sends requests to its own server only. The newer UI, which a
person can switch to, contains an analytics client. On every page it requests a configuration from its vendor, whatever
PREFECT_SERVER_ANALYTICS_ENABLED says. No setting of Prefect stops that, but a Content-Security-Policy does.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from core.atomic_files import write_atomically
from core.data_layout import DataLayout

_POLICY = '<meta http-equiv="Content-Security-Policy" content="'


def restrict_pages(data_dir: Path, api_url: str) -> int:
    """Add the policy to the pages that Prefect's server has copied. Return the number of changed pages.

    `api_url` is the URL at which a browser reaches Prefect's API.
    """
    changed = 0
    for page in DataLayout(data_dir).prefect_ui.rglob("index.html"):
        text = page.read_text()
        head, tag, tail = text.partition("<head>")
        if not tag:
            continue
        line = f'{_POLICY}{_policy(api_url)}">'
        lines = [line, *(old_line for old_line in tail.lstrip("\n").split("\n") if _POLICY not in old_line)]
        new = "\n".join((f"{head}{tag}", *lines))
        if new != text:
            write_atomically(page, new)
            changed += 1
    return changed


def _policy(api_url: str) -> str:
    api = urlsplit(api_url)
    socket = f"{'wss' if api.scheme == 'https' else 'ws'}://{api.netloc}"
    return (
        "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:;"
        f" connect-src 'self' data: blob: {api.scheme}://{api.netloc} {socket}; form-action 'self'; base-uri 'self'"
    )
