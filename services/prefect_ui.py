"""Prefect's UI as this machine serves it: its pages may reach their own server and nothing else.

Prefect has two UIs. The older one, which is the default here, asks for nothing elsewhere. The newer one, which a person
can switch to, has an analytics client built in that asks its maker's host for a configuration on every page, whatever
PREFECT_SERVER_ANALYTICS_ENABLED says. No setting of Prefect stops that, but a Content-Security-Policy does.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from core.atomic_files import write_atomically
from core.data_layout import DataLayout

_POLICY = '<meta http-equiv="Content-Security-Policy" content="'


def restrict_pages(data_dir: Path, api_url: str) -> int:
    """Put the policy into the pages that Prefect's server has copied, and return how many were changed.

    Doing it again changes nothing. `api_url` is the address at which the browser reaches Prefect's API.
    """
    changed = 0
    for page in DataLayout(data_dir).prefect_ui.rglob("index.html"):
        text = page.read_text()
        head, tag, rest = text.partition("<head>")
        if not tag:
            continue
        line = f'{_POLICY}{_policy(api_url)}">'
        lines = [line, *(kept for kept in rest.lstrip("\n").split("\n") if _POLICY not in kept)]
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
