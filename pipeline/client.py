"""The HTTP client of the source API: fetches one page at a time, with time-outs and retries."""

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
from pipeline.request_rate import RequestRate
from pipeline.row_filter import RowFilter, remove_rows

_FIRST_WAIT_SECONDS = 0.2
_LONGEST_WAIT_SECONDS = 15.0
_BACKOFF = tenacity.wait_exponential_jitter(
    multiplier=_FIRST_WAIT_SECONDS, max=_LONGEST_WAIT_SECONDS, jitter=_FIRST_WAIT_SECONDS
)
_SECONDS_PER_YEAR = 365 * 86_400
_PROXY_LOGIN = "the proxy asks for a login: write it as http://user:password@host:port, special characters as %XX"
_MAX_BODY_BYTES = 64 * 2**20
_MAX_CHUNK_BYTES = 2**20
_REDIRECT_ERRORS = (
    requests.TooManyRedirects,
    requests.exceptions.InvalidSchema,
    requests.exceptions.InvalidURL,
    requests.exceptions.MissingSchema,
)
_RETRY_STATUS = frozenset({408, 425, 429, *range(500, 600)})


@dataclass(frozen=True)
class Page:
    """One page as it was sent. `keys` has one number per row: equal for equal keys, None for a row without a key."""

    number: int
    body: bytes
    total: int
    size: int
    keys: tuple[int | None, ...]


class ApiClient:
    """Fetches pages of the API. Threads can share it; each has its own connection."""

    def __init__(
        self, settings: Settings, row_filter: RowFilter | None = None, request_rate: RequestRate | None = None
    ) -> None:
        """`row_filter` removes rows from each page of personal data before other code sees the page.

        `request_rate` limits requests, also retries.

        Raises SettingsError if an environment variable names an unusable proxy or certificate file.
        """
        self._settings = settings
        self.row_filter = row_filter
        self._request_rate = request_rate
        self._local = threading.local()
        check_network(settings)
        self._proxy = proxy_for(settings.moovitamix_api_url)
        self._environment = _environment(settings)

    def fetch_page(self, endpoint: Endpoint, number: int) -> Page:
        """Fetch one page, with retries.

        Raises TransientSourceError after the last retry, TerminalSourceError at once if a retry cannot help, and
        DatabaseError if the database that limits the rate of requests cannot be used.
        """
        settings = self._settings
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(TransientSourceError),
            stop=tenacity.stop_after_attempt(settings.fetch_tries)
            | tenacity.stop_before_delay(settings.give_up_after_seconds),
            wait=_wait,
            reraise=True,
        )
        started = time.monotonic()
        try:
            return retrying(self._fetch_once, endpoint, number)
        except TransientSourceError as error:
            seconds = time.monotonic() - started
            attempts = f"(tried {retrying.statistics['attempt_number']} times in {seconds:.0f} s)"
            if error.retry_after and seconds + error.retry_after > settings.give_up_after_seconds:
                raise TerminalSourceError(
                    f"{error}{_excessive_wait(error.retry_after, settings)} {attempts}"
                ) from error
            raise TransientSourceError(f"{error} {attempts}") from error

    def _fetch_once(self, endpoint: Endpoint, number: int) -> Page:
        request_line = (
            f"GET {self._settings.source}/{endpoint}?page={number}&size={self._settings.page_size}{self._via}"
        )
        timeout = (self._settings.connect_timeout_seconds, self._settings.read_timeout_seconds)
        if self._request_rate is not None:
            self._request_rate.wait()
        try:
            with self._session.send(self._request(endpoint, number), timeout=timeout, stream=True) as response:
                body = self._read(response)
        except _REDIRECT_ERRORS as error:
            raise TerminalSourceError(f"{request_line}: invalid redirect; check MOOVITAMIX_API_URL") from error
        except requests.exceptions.ProxyError as error:
            raise _proxy_error(request_line, error) from error
        except (requests.RequestException, urllib3.exceptions.HTTPError, TimeoutError) as error:
            raise TransientSourceError(f"{request_line}: {_network_fault(error)}") from error
        if response.status_code in _RETRY_STATUS:
            raise TransientSourceError(f"{request_line}: answered {response.status_code}", _retry_after(response))
        if response.status_code != 200:
            raise TerminalSourceError(f"{request_line}: answered {response.status_code}{_hint(response.status_code)}")
        if self.row_filter and ENDPOINTS[endpoint].is_personal:
            body, _ = remove_rows(endpoint, body, self.row_filter)
        try:
            total, size, keys = keyed_envelope(endpoint, body)
        except TransientSourceError as error:
            raise TransientSourceError(f"{request_line}: {error}") from error
        return Page(number, body, total, size or self._settings.page_size, keys)

    def _read(self, response: requests.Response) -> bytes:
        """The whole body. The read time-out also limits a body that arrives byte by byte."""
        deadline = time.monotonic() + self._settings.read_timeout_seconds
        chunks: list[bytes] = []
        size = 0
        while chunk := response.raw.read1(_MAX_CHUNK_BYTES, decode_content=True):
            chunks.append(chunk)
            size += len(chunk)
            if size > _MAX_BODY_BYTES:
                raise requests.exceptions.ContentDecodingError
            if time.monotonic() > deadline:
                raise TimeoutError
        return b"".join(chunks)

    def _request(self, endpoint: Endpoint, number: int) -> requests.PreparedRequest:
        """The request for a page. Each thread prepares one per endpoint, because preparing is as slow as a response."""
        prepared: dict[Endpoint, tuple[requests.PreparedRequest, str]] | None = getattr(self._local, "prepared", None)
        if prepared is None:
            prepared = self._local.prepared = {}
        if endpoint not in prepared:
            unprepared = requests.Request("GET", f"{self._settings.moovitamix_api_url}/{endpoint}")
            template = self._session.prepare_request(unprepared)
            prepared[endpoint] = (template, template.url or "")
        request, url = prepared[endpoint]
        request.url = f"{url}?page={number}&size={self._settings.page_size}"
        return request

    @property
    def _via(self) -> str:
        return f" through the proxy {self._proxy}" if self._proxy else ""

    @property
    def _session(self) -> requests.Session:
        session: requests.Session | None = getattr(self._local, "session", None)
        if session is None:
            session = requests.Session()
            # Proxies and certificates are read from the environment once, because reading them per request is slow.
            # The source gets no login from ~/.netrc, only MOOVITAMIX_API_TOKEN.
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
    """Seconds to the next attempt: twice the last wait with jitter, or the server's Retry-After if it is longer."""
    error = state.outcome.exception() if state.outcome else None
    requested = error.retry_after if isinstance(error, TransientSourceError) else None
    return max(float(_BACKOFF(state)), requested or 0.0)


def _retry_after(response: requests.Response) -> float | None:
    """The seconds of the header Retry-After, which is a number or a date. None if it is missing, invalid or past."""
    value = response.headers.get("Retry-After", "").strip()
    try:
        seconds = float(value)
    except ValueError:
        retry_at = _date(value)
        if retry_at is None:
            return None
        # Our clock may differ from the server's, so the header Date is preferred.
        seconds = (retry_at - (_date(response.headers.get("Date", "")) or datetime.now(UTC))).total_seconds()
    return seconds if seconds > 0 else None  # None for NaN too


def _date(text: str) -> datetime | None:
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError):
        return None
    return date if date.tzinfo else date.replace(tzinfo=UTC)


def _excessive_wait(seconds: float, settings: Settings) -> str:
    """The part of a message that explains why there is no retry."""
    wait = f"{seconds:,.0f} s" if seconds < _SECONDS_PER_YEAR else "more than a year"
    limit = f"{settings.give_up_after_seconds:g} s"
    return f" and asks to wait {wait}, but a page is given up after {limit} (GIVE_UP_AFTER_SECONDS); run again later"


def check_network(settings: Settings) -> None:
    """Raises SettingsError if an environment variable names an unusable proxy or certificate file."""
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
        raise SettingsError(f"{name} names {certificates}, which cannot be read: correct or unset it")


def _environment(settings: Settings) -> Mapping[str, Any]:
    """The certificate settings that `requests` reads from the environment."""
    return requests.Session().merge_environment_settings(settings.moovitamix_api_url, {}, False, None, None)


def _proxy_error(
    request_line: str, error: requests.exceptions.ProxyError
) -> TransientSourceError | TerminalSourceError:
    """The error for a proxy that did not forward the request. It omits the text of `error`: it may hold a password."""
    text = str(error)
    if " 407 " in f"{text} ":
        return TerminalSourceError(f"{request_line}: {_PROXY_LOGIN}")
    refusal = re.search(r"Tunnel connection failed: (\d{3})", text)
    if refusal:
        return TransientSourceError(f"{request_line}: the proxy answered {refusal[1]}")
    return TransientSourceError(
        f"{request_line}: the proxy does not answer; check the variable, or add the host to NO_PROXY"
    )


def _hint(status: int) -> str:
    return {
        401: "; set MOOVITAMIX_API_TOKEN",
        403: "; the token in MOOVITAMIX_API_TOKEN lacks the right",
        404: "; check MOOVITAMIX_API_URL",
        407: f"; {_PROXY_LOGIN}",
        422: "; check PAGE_SIZE",
    }.get(status, "")


def _network_fault(error: Exception) -> str:
    """The network fault in words, without addresses and credentials."""
    if isinstance(error, requests.ConnectTimeout):
        return "no connection within the time-out"
    if isinstance(error, requests.Timeout | urllib3.exceptions.TimeoutError | TimeoutError):
        return "no answer within the time-out"
    if isinstance(error, requests.exceptions.SSLError):
        return "the TLS certificate was not accepted"
    if isinstance(error, requests.exceptions.ContentDecodingError):
        return f"the body cannot be decompressed, or is larger than {_MAX_BODY_BYTES:,} bytes"
    if "refused" in str(error):
        return "connection refused; is the API running?"
    if isinstance(error, requests.exceptions.ChunkedEncodingError | urllib3.exceptions.ProtocolError):
        return "the connection broke before the whole body arrived"
    return f"the connection failed ({type(error).__name__})"
