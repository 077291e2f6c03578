"""A client of Prefect's HTTP API for processes that do not import Prefect, which is slow and large."""

from __future__ import annotations

from typing import Any

import requests
from requests.adapters import HTTPAdapter
from requests.auth import HTTPBasicAuth
from urllib3.util import Retry


class PrefectClient:
    """A client of one Prefect server. `login` is user:password, or empty. Requests raise RequestException.

    A request is repeated up to `tries` times while the server reports that its database is busy. Each response may take
    `seconds`.
    """

    def __init__(self, api_url: str, login: str = "", *, tries: int = 8, seconds: float = 15) -> None:
        user, _, password = login.partition(":")
        self.api_url = api_url.rstrip("/")
        self._seconds = seconds
        self._session = requests.Session()
        # The server answers 429 or 503 if its database is busy. It has not executed the request, so a retry is safe.
        busy = Retry(
            total=tries,
            backoff_factor=0.5,
            status_forcelist=[429, 503],
            allowed_methods=None,
            raise_on_status=False,
            respect_retry_after_header=False,  # its value may be hours, or not a number
        )
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, HTTPAdapter(max_retries=busy))
        self._session.auth = HTTPBasicAuth(user.encode(), password.encode()) if login else None

    def ask(self, method: str, path: str, content: Any = None) -> Any:
        """Send a request, and return the JSON of the response; None if it is empty."""
        response = self._session.request(method, f"{self.api_url}/{path}", json=content, timeout=self._seconds)
        response.raise_for_status()
        return response.json() if response.content else None
