"""Fetching one page: the waits between retries, and requests through the proxy of a corporate network."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import tenacity.nap

from core.errors import SettingsError, TerminalSourceError, TransientSourceError
from core.proxies import keep_loopback_direct
from core.settings import Settings
from pipeline.client import ApiClient
from tests.corporate_proxy import SOURCE, CorporateProxy, corporate_proxy

PAGE = b'{"items": [], "total": 0, "page": 1, "size": 50, "pages": 0}'
FUTURE = format_datetime(datetime(2999, 12, 31, 23, 59, 59, tzinfo=UTC), usegmt=True)


class Busy:
    """A source that refuses the first requests, and records the headers of all requests."""

    def __init__(self) -> None:
        self.status, self.refusals = 429, 0
        self.headers: dict[str, str] = {}
        self.request_headers: list[dict[str, str]] = []
        busy = self

        class BusyHandler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                busy.request_headers.append({name.lower(): value for name, value in self.headers.items()})
                refused = len(busy.request_headers) <= busy.refusals
                body = b"" if refused else PAGE
                self.send_response_only(busy.status if refused else 200)
                for name, value in (busy.headers if refused else {}).items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), BusyHandler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def busy() -> Iterator[Busy]:
    source = Busy()
    threading.Thread(target=source.server.serve_forever, args=(0.05,), daemon=True).start()
    yield source
    source.server.shutdown()
    source.server.server_close()


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds between tries, which are not slept."""
    waited: list[float] = []
    monkeypatch.setattr(tenacity.nap, "time", SimpleNamespace(sleep=waited.append))
    return waited


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment without proxies and certificates of its own."""
    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NETRC"):
            monkeypatch.delenv(name)
    return monkeypatch


def settings(url: str, **fields: Any) -> Settings:
    quick = {"fetch_tries": 4, "connect_timeout_seconds": 2, "read_timeout_seconds": 5, "page_size": 50}
    return Settings(_env_file=None, **(quick | {"moovitamix_api_url": url} | fields))  # type: ignore[call-arg]


SHORT_DELAYS = {
    "nothing": {},
    "zero": {"Retry-After": "0"},
    "empty": {"Retry-After": ""},
    "negative": {"Retry-After": "-5"},
    "not a number": {"Retry-After": "NaN"},
    "minus infinity": {"Retry-After": "-inf"},
    "a hundredth": {"Retry-After": "0.01"},
    "a past date": {"Retry-After": "Sun, 06 Nov 1994 08:49:37 GMT"},
    "a past date without zone": {"Retry-After": "Sun, 06 Nov 1994 08:49:37 -0000"},
    "an impossible date": {"Retry-After": "Sun, 99 Nov 1994 08:49:37 GMT"},
    "a word": {"Retry-After": "soon"},
    "two numbers": {"Retry-After": "1, 2"},
    "now by the server's clock, which is ahead": {"Retry-After": FUTURE, "Date": FUTURE},
}


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("case", SHORT_DELAYS)
def test_a_delay_shorter_than_the_backoff_does_not_shorten_it(
    case: str, status: int, busy: Busy, waits: list[float]
) -> None:
    busy.status, busy.refusals, busy.headers = status, 3, SHORT_DELAYS[case]

    assert ApiClient(settings(busy.url)).fetch_page("tracks", 1).total == 0

    assert len(busy.request_headers) == 4
    assert len(waits) == 3
    assert all(wait >= 0.2 * 2**place for place, wait in enumerate(waits)), waits


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "7"}, 7),
        ({"Retry-After": " 7 "}, 7),
        ({"Retry-After": "7.5"}, 7.5),
        (
            {
                "Date": format_datetime(datetime(2024, 2, 29, tzinfo=UTC), usegmt=True),
                "Retry-After": format_datetime(datetime(2024, 2, 29, tzinfo=UTC) + timedelta(seconds=9), usegmt=True),
            },
            9,
        ),
    ],
)
def test_the_client_waits_for_a_longer_requested_delay(
    headers: dict[str, str], seconds: float, busy: Busy, waits: list[float]
) -> None:
    busy.refusals, busy.headers = 2, headers

    ApiClient(settings(busy.url)).fetch_page("tracks", 1)

    assert waits == [seconds, seconds]


@pytest.mark.parametrize("value", ["61", "86400", "inf", "9" * 400, "1e300", FUTURE])
def test_a_requested_delay_beyond_the_limit_fails_at_once(value: str, busy: Busy, waits: list[float]) -> None:
    busy.refusals, busy.headers = 9, {"Retry-After": value}

    with pytest.raises(TerminalSourceError) as raised:  # so the task does not retry either
        ApiClient(settings(busy.url, give_up_after_seconds=60)).fetch_page("tracks", 1)

    assert (waits, len(busy.request_headers)) == ([], 1)
    assert "answered 429 and asks to wait " in str(raised.value)
    assert "given up after 60 s (GIVE_UP_AFTER_SECONDS); run again later (tried 1 times" in str(raised.value)


def test_the_error_has_the_number_of_tries(busy: Busy, waits: list[float]) -> None:
    busy.refusals = 9
    with pytest.raises(TransientSourceError, match=r"answered 429 \(tried 4 times"):
        ApiClient(settings(busy.url)).fetch_page("tracks", 1)
    assert len(waits) == 3


@pytest.fixture
def proxy(busy: Busy) -> Iterator[CorporateProxy]:
    with corporate_proxy(busy.url) as running:
        yield running


def through(proxy_url: str, shell: pytest.MonkeyPatch, name: str = "HTTP_PROXY") -> None:
    """Set the corrected variable, as our programs do."""
    environment = {name: proxy_url}
    keep_loopback_direct(environment)
    for variable, value in environment.items():
        shell.setenv(variable, value)


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"])
def test_requests_to_the_source_use_the_proxy_and_requests_to_loopback_do_not(
    name: str, proxy: CorporateProxy, busy: Busy, shell: pytest.MonkeyPatch
) -> None:
    through(proxy.url, shell, name)

    assert ApiClient(settings(f"http://{SOURCE}", moovitamix_api_token="t0ken")).fetch_page("tracks", 1).total == 0
    assert proxy.hosts == [SOURCE]
    assert busy.request_headers[0]["authorization"] == "Bearer t0ken"

    assert ApiClient(settings(busy.url)).fetch_page("tracks", 1).total == 0
    assert proxy.hosts == [SOURCE]


@pytest.mark.parametrize(
    ("status", "error_type", "message"),
    [
        (407, TerminalSourceError, "answered 407; the proxy asks for a login"),
        (502, TransientSourceError, "answered 502 (tried 2 times"),
    ],
)
def test_the_error_for_the_response_of_a_proxy_names_the_proxy(
    status: int,
    error_type: type[Exception],
    message: str,
    proxy: CorporateProxy,
    shell: pytest.MonkeyPatch,
    waits: list[float],
) -> None:
    proxy.status = status
    through(proxy.url.replace("http://", "http://user:secret@"), shell)
    with pytest.raises(error_type) as raised:
        ApiClient(settings(f"http://{SOURCE}", fetch_tries=2)).fetch_page("tracks", 1)
    assert f"GET http://{SOURCE}/tracks?page=1&size=50 through the proxy {proxy.url} (HTTP_PROXY): " in str(
        raised.value
    )
    assert message in str(raised.value)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("status", [407, 503])
def test_the_error_for_a_refused_tunnel_names_the_proxy(
    status: int, proxy: CorporateProxy, shell: pytest.MonkeyPatch, waits: list[float]
) -> None:
    proxy.status = status
    through(proxy.url, shell, "https_proxy")
    with pytest.raises((TransientSourceError, TerminalSourceError)) as raised:
        ApiClient(settings(f"https://{SOURCE}", fetch_tries=1)).fetch_page("tracks", 1)
    assert f"through the proxy {proxy.url} (https_proxy): the proxy " in str(raised.value)
    assert ("asks for a login" if status == 407 else "answered 503") in str(raised.value)


def test_the_error_names_an_unreachable_proxy_without_its_password(
    shell: pytest.MonkeyPatch, waits: list[float]
) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{bound.getsockname()[1]}"
        through(f"http://user:secret@{address}", shell)
        with pytest.raises(TransientSourceError) as raised:
            ApiClient(settings(f"http://{SOURCE}", fetch_tries=2)).fetch_page("tracks", 1)
    assert f"through the proxy http://{address} (HTTP_PROXY): the proxy does not answer" in str(raised.value)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    "url", ["socks5://u:secret@127.0.0.1:1", "socks5h://127.0.0.1:1", "http://p:port", "gopher://p"]
)
def test_an_unusable_proxy_is_a_wrong_setting_unless_the_source_is_loopback(
    url: str, busy: Busy, shell: pytest.MonkeyPatch
) -> None:
    through(url, shell, "ALL_PROXY")
    with pytest.raises(SettingsError, match="ALL_PROXY") as raised:
        ApiClient(settings(f"http://{SOURCE}"))
    assert "secret" not in str(raised.value)
    assert ApiClient(settings(busy.url)).fetch_page("tracks", 1).total == 0


@pytest.mark.parametrize("name", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_the_error_names_a_missing_certificate_file_which_matters_only_with_tls(
    name: str, busy: Busy, shell: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    shell.setenv(name, str(tmp_path / "missing.pem"))
    with pytest.raises(SettingsError, match=f"{name} names .*missing.pem, which cannot be read"):
        ApiClient(settings("https://source.example"))
    assert ApiClient(settings(busy.url)).fetch_page("tracks", 1).total == 0


def test_a_login_from_netrc_is_not_sent(busy: Busy, shell: pytest.MonkeyPatch, tmp_path: Path) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("default login somebody password secret\n")
    netrc.chmod(0o600)
    shell.setenv("NETRC", str(netrc))
    ApiClient(settings(busy.url)).fetch_page("tracks", 1)
    ApiClient(settings(busy.url, moovitamix_api_token="t0ken")).fetch_page("tracks", 1)
    assert [headers.get("authorization") for headers in busy.request_headers] == [None, "Bearer t0ken"]
