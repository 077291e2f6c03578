"""A Prefect server's API over HTTP, for programs that do not import Prefect: that takes seconds and memory."""

from __future__ import annotations

from typing import Any

import requests
from requests.adapters import HTTPAdapter
from requests.auth import HTTPBasicAuth
from urllib3.util import Retry

_SECONDS = 15


class PrefectClient:
    """A Prefect server's API. `login` is user:password, or empty. Everything raises RequestException.

    `tries` is how often a request is repeated while the server says that its database is busy.
    """

    def __init__(self, api_url: str, login: str = "", *, tries: int = 8) -> None:
        user, _, password = login.partition(":")
        self.api_url = api_url.rstrip("/")
        self._session = requests.Session()
        # So answers a server whose database is busy, SQLite above all; what it so answers it has not done.
        busy = Retry(
            total=tries,
            backoff_factor=0.5,
            status_forcelist=[429, 503],
            allowed_methods=None,
            raise_on_status=False,
            respect_retry_after_header=False,  # one may ask for hours, or be no number
        )
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, HTTPAdapter(max_retries=busy))
        self._session.auth = HTTPBasicAuth(user.encode(), password.encode()) if login else None

    def ask(self, method: str, path: str, content: Any = None) -> Any:
        """What the server answers, as JSON."""
        answer = self._session.request(method, f"{self.api_url}/{path}", json=content, timeout=_SECONDS)
        answer.raise_for_status()
        return answer.json() if answer.content else None
