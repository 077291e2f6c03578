"""Reading pages from the API: one page at a time, with time-outs and retries of what may pass."""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import requests
import requests.adapters
import tenacity
import urllib3.exceptions

from core.endpoints import ENDPOINTS, Endpoint
from core.errors import SettingsError, TerminalSourceError, TransientSourceError
from core.proxies import proxy_for
from core.settings import Settings
from pipeline.page_format import keyed_envelope
from pipeline.row_filter import RowFilter, remove_rows

_FIRST_WAIT_SECONDS = 0.2
_LONGEST_WAIT_SECONDS = 15.0
_BACKOFF = tenacity.wait_exponential_jitter(
    multiplier=_FIRST_WAIT_SECONDS, max=_LONGEST_WAIT_SECONDS, jitter=_FIRST_WAIT_SECONDS
)
_LONGEST_SENSIBLE_SECONDS = 365 * 86_400
_PROXY_LOGIN = "the proxy asks for a login: write it as http://user:password@host:port, special characters as %XX"
_LARGEST_BODY = 64 * 2**20
_LARGEST_PIECE = 2**20
_LED_ASTRAY = (
    requests.TooManyRedirects,
    requests.exceptions.InvalidSchema,
    requests.exceptions.InvalidURL,
    requests.exceptions.MissingSchema,
)
_RETRY_STATUS = frozenset({408, 425, 429, *range(500, 600)})


@dataclass(frozen=True)
class Page:
    """One page as it was sent. `keys` has one number per row, equal for equal keys; None where a row has no key."""

    number: int
    body: bytes
    total: int
    size: int
    keys: tuple[int | None, ...]


class ApiClient:
    """Reads pages of the API. Safe to share between threads; each keeps its own connection."""

    def __init__(self, settings: Settings, row_filter: RowFilter | None = None) -> None:
        """`row_filter` removes rows from each page of personal data before anything else reads it.

        Raises SettingsError when a variable of the environment names a proxy or a certificate file that is of no use.
        """
        self._settings = settings
        self._row_filter = row_filter
        self._local = threading.local()
        check_network(settings)
        self._proxy = proxy_for(settings.moovitamix_api_url)
        self._environment = _environment(settings)

    def fetch_page(self, endpoint: Endpoint, number: int) -> Page:
        """One page, asked for again while the fault may pass.

        Raises TransientSourceError when it did not pass in the tries and the time allowed, TerminalSourceError at once
        when it never will.
        """
        settings = self._settings
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(TransientSourceError),
            stop=tenacity.stop_after_attempt(settings.fetch_tries)
            | tenacity.stop_before_delay(settings.give_up_after_seconds),
            wait=_wait,
            reraise=True,
        )
        began = time.monotonic()
        try:
            return retrying(self._page_once, endpoint, number)
        except TransientSourceError as error:
            seconds = time.monotonic() - began
            tried = f"(tried {retrying.statistics['attempt_number']} times in {seconds:.0f} s)"
            if error.retry_after and seconds + error.retry_after > settings.give_up_after_seconds:
                raise TerminalSourceError(f"{error}{_too_long(error.retry_after, settings)} {tried}") from error
            raise TransientSourceError(f"{error} {tried}") from error

    def _page_once(self, endpoint: Endpoint, number: int) -> Page:
        where = f"GET {self._settings.source}/{endpoint}?page={number}&size={self._settings.page_size}{self._via}"
        timeout = (self._settings.connect_timeout_seconds, self._settings.read_timeout_seconds)
        try:
            with self._session.send(self._request(endpoint, number), timeout=timeout, stream=True) as response:
                body = self._read(response)
        except _LED_ASTRAY as error:
            raise TerminalSourceError(f"{where}: redirected to nowhere; check MOOVITAMIX_API_URL") from error
        except requests.exceptions.ProxyError as error:
            raise _proxy_error(where, error) from error
        except (requests.RequestException, urllib3.exceptions.HTTPError, TimeoutError) as error:
            raise TransientSourceError(f"{where}: {_what_happened(error)}") from error
        if response.status_code in _RETRY_STATUS:
            raise TransientSourceError(f"{where}: answered {response.status_code}", _retry_after(response))
        if response.status_code != 200:
            raise TerminalSourceError(f"{where}: answered {response.status_code}{_hint(response.status_code)}")
        if self._row_filter and ENDPOINTS[endpoint].is_personal:
            body, _ = remove_rows(endpoint, body, self._row_filter)
        try:
            total, size, keys = keyed_envelope(endpoint, body)
        except TransientSourceError as error:
            raise TransientSourceError(f"{where}: {error}") from error
        return Page(number, body, total, size or self._settings.page_size, keys)

    def _read(self, response: requests.Response) -> bytes:
        """The whole body, within the read time-out even if it comes a byte at a time."""
        until = time.monotonic() + self._settings.read_timeout_seconds
        pieces: list[bytes] = []
        size = 0
        while piece := response.raw.read1(_LARGEST_PIECE, decode_content=True):
            pieces.append(piece)
            size += len(piece)
            if size > _LARGEST_BODY:
                raise requests.exceptions.ContentDecodingError
            if time.monotonic() > until:
                raise TimeoutError
        return b"".join(pieces)

    def _request(self, endpoint: Endpoint, number: int) -> requests.PreparedRequest:
        """The request for a page. A thread prepares one per endpoint: doing it per page takes as long as the answer."""
        prepared: dict[Endpoint, tuple[requests.PreparedRequest, str]] | None = getattr(self._local, "prepared", None)
        if prepared is None:
            prepared = self._local.prepared = {}
        if endpoint not in prepared:
            request = requests.Request("GET", f"{self._settings.moovitamix_api_url}/{endpoint}")
            blank = self._session.prepare_request(request)
            prepared[endpoint] = (blank, blank.url or "")
        request_of_page, url = prepared[endpoint]
        request_of_page.url = f"{url}?page={number}&size={self._settings.page_size}"
        return request_of_page

    @property
    def _via(self) -> str:
        return f" through the proxy {self._proxy}" if self._proxy else ""

    @property
    def _session(self) -> requests.Session:
        session: requests.Session | None = getattr(self._local, "session", None)
        if session is None:
            session = requests.Session()
            # Proxies and certificates were looked up once: doing it per request is slow. A login in ~/.netrc is not
            # for the source, which has MOOVITAMIX_API_TOKEN.
            session.trust_env = False
            session.proxies = {"all": self._proxy.url} if self._proxy else {}
            session.verify = self._environment["verify"]
            session.cert = self._environment["cert"]
            session.headers["Accept"] = "application/json"
            if self._settings.moovitamix_api_token:
                session.headers["Authorization"] = f"Bearer {self._settings.moovitamix_api_token.get_secret_value()}"
            self._local.session = session
        return session


def _wait(state: tenacity.RetryCallState) -> float:
    """Seconds to the next try: twice the last wait with jitter, or what the server asked for if that is longer."""
    error = state.outcome.exception() if state.outcome else None
    requested = error.retry_after if isinstance(error, TransientSourceError) else None
    return max(float(_BACKOFF(state)), requested or 0.0)


def _retry_after(response: requests.Response) -> float | None:
    """Seconds that the header Retry-After asks for, as a number or a date; None if it asks for no wait, or nonsense."""
    value = response.headers.get("Retry-After", "").strip()
    try:
        seconds = float(value)
    except ValueError:
        asked_for = _date(value)
        if asked_for is None:
            return None
        # By the server's own clock, if it says what that shows: ours may differ.
        seconds = (asked_for - (_date(response.headers.get("Date", "")) or datetime.now(UTC))).total_seconds()
    return seconds if seconds > 0 else None  # NaN is not


def _date(text: str) -> datetime | None:
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError):
        return None
    return date if date.tzinfo else date.replace(tzinfo=UTC)


def _too_long(seconds: float, settings: Settings) -> str:
    """Why a page is not asked for again."""
    wait = f"{seconds:,.0f} s" if seconds < _LONGEST_SENSIBLE_SECONDS else "more than a year"
    limit = f"{settings.give_up_after_seconds:g} s"
    return f" and asks to wait {wait}, but a page is given up after {limit} (GIVE_UP_AFTER_SECONDS); run again later"


def check_network(settings: Settings) -> None:
    """Raises SettingsError when a variable of the environment names a proxy or a certificate file that is of no use."""
    proxy = proxy_for(settings.moovitamix_api_url)
    if proxy is not None and proxy.defect:
        raise SettingsError(
            f"the proxy {proxy} {proxy.defect}; or, if none is needed, add the host of MOOVITAMIX_API_URL to NO_PROXY"
        )
    certificates = _environment(settings)["verify"]
    if not isinstance(certificates, str) or not settings.moovitamix_api_url.lower().startswith("https:"):
        return
    if not os.access(certificates, os.R_OK):
        names = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
        name = next((name for name in names if os.environ.get(name) == certificates), names[0])
        raise SettingsError(f"{name} names {certificates}, which cannot be read: correct it, or unset it")


def _environment(settings: Settings) -> Mapping[str, Any]:
    """What `requests` takes from the environment for the source: certificates."""
    return requests.Session().merge_environment_settings(settings.moovitamix_api_url, {}, False, None, None)


def _proxy_error(where: str, error: requests.exceptions.ProxyError) -> TransientSourceError | TerminalSourceError:
    """What a proxy did instead of passing the request on. Its own words are left out: they may hold its password."""
    text = str(error)
    if " 407 " in f"{text} ":
        return TerminalSourceError(f"{where}: {_PROXY_LOGIN}")
    refused = re.search(r"Tunnel connection failed: (\d{3})", text)
    if refused:
        return TransientSourceError(f"{where}: the proxy answered {refused[1]}")
    return TransientSourceError(f"{where}: the proxy does not answer; check the variable, or add the host to NO_PROXY")


def _hint(status: int) -> str:
    return {
        401: "; set MOOVITAMIX_API_TOKEN",
        403: "; the token in MOOVITAMIX_API_TOKEN lacks the right",
        404: "; check MOOVITAMIX_API_URL",
        407: f"; {_PROXY_LOGIN}",
        422: "; check PAGE_SIZE",
    }.get(status, "")


def _what_happened(error: Exception) -> str:
    """The kind of network fault in words, without addresses or credentials."""
    if isinstance(error, requests.ConnectTimeout):
        return "no connection within the time-out"
    if isinstance(error, requests.Timeout | urllib3.exceptions.TimeoutError | TimeoutError):
        return "no answer within the time-out"
    if isinstance(error, requests.exceptions.SSLError):
        return "the TLS certificate was not accepted"
    if isinstance(error, requests.exceptions.ContentDecodingError):
        return f"the body cannot be unpacked, or is larger than {_LARGEST_BODY:,} bytes"
    if "refused" in str(error):
        return "connection refused; is the API running?"
    if isinstance(error, requests.exceptions.ChunkedEncodingError | urllib3.exceptions.ProtocolError):
        return "the connection broke before the whole body came"
    return f"the connection failed ({type(error).__name__})"
