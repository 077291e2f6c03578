"""Reading pages from the API: one page at a time, with time-outs and retries of what may pass."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import requests
import requests.adapters
import tenacity
import urllib3.exceptions

from core.columns import Endpoint
from core.errors import TerminalSourceError, TransientSourceError
from core.settings import Settings
from pipeline.belonging import PERSONAL, without
from pipeline.contract import keyed_envelope
from pipeline.suppression import Suppressed

_FIRST_WAIT_SECONDS = 0.2
_LONGEST_WAIT_SECONDS = 15.0
_BACKOFF = tenacity.wait_exponential_jitter(
    multiplier=_FIRST_WAIT_SECONDS, max=_LONGEST_WAIT_SECONDS, jitter=_FIRST_WAIT_SECONDS
)
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

    def __init__(self, settings: Settings, suppressed: Suppressed | None = None) -> None:
        """Rows of listeners who are `suppressed` are cut out of each page before anything else sees it."""
        self._settings = settings
        self._suppressed = suppressed or Suppressed()
        self._local = threading.local()
        self._environment = requests.Session().merge_environment_settings(
            settings.moovitamix_api_url, {}, False, None, None
        )

    def page(self, endpoint: Endpoint, number: int) -> Page:
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
            tries, seconds = retrying.statistics["attempt_number"], time.monotonic() - began
            raise TransientSourceError(f"{error} (tried {tries} times in {seconds:.0f} s)") from error

    def _page_once(self, endpoint: Endpoint, number: int) -> Page:
        where = f"GET {self._settings.source}/{endpoint}?page={number}&size={self._settings.page_size}"
        timeout = (self._settings.connect_timeout_seconds, self._settings.read_timeout_seconds)
        try:
            with self._session.send(self._request(endpoint, number), timeout=timeout, stream=True) as response:
                body = self._read(response)
        except _LED_ASTRAY as error:
            raise TerminalSourceError(f"{where}: redirected to nowhere; check MOOVITAMIX_API_URL") from error
        except (requests.RequestException, urllib3.exceptions.HTTPError, TimeoutError) as error:
            raise TransientSourceError(f"{where}: {_what_happened(error)}") from error
        if response.status_code in _RETRY_STATUS:
            raise TransientSourceError(f"{where}: answered {response.status_code}", _retry_after(response))
        if response.status_code != 200:
            raise TerminalSourceError(f"{where}: answered {response.status_code}{_hint(response.status_code)}")
        if self._suppressed and endpoint in PERSONAL:
            body, _ = without(endpoint, body, self._suppressed.among, self._suppressed.is_borne_by)
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
    def _session(self) -> requests.Session:
        session: requests.Session | None = getattr(self._local, "session", None)
        if session is None:
            session = requests.Session()
            session.trust_env = False  # proxies and certificates were looked up once: doing it per request is slow
            session.proxies = self._environment["proxies"]
            session.verify = self._environment["verify"]
            session.cert = self._environment["cert"]
            session.headers["Accept"] = "application/json"
            if self._settings.moovitamix_api_token:
                session.headers["Authorization"] = f"Bearer {self._settings.moovitamix_api_token.get_secret_value()}"
            self._local.session = session
        return session


def _wait(state: tenacity.RetryCallState) -> float:
    """Seconds to the next try: what the server asked for, or twice the last wait with jitter."""
    error = state.outcome.exception() if state.outcome else None
    asked = error.retry_after if isinstance(error, TransientSourceError) else None
    return float(_BACKOFF(state)) if asked is None else asked


def _retry_after(response: requests.Response) -> float | None:
    """Seconds that the header Retry-After asks for, given as a number or as a date."""
    value = response.headers.get("Retry-After")
    if not value:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return None


def _hint(status: int) -> str:
    return {
        401: "; set MOOVITAMIX_API_TOKEN",
        403: "; the token in MOOVITAMIX_API_TOKEN lacks the right",
        404: "; check MOOVITAMIX_API_URL",
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
