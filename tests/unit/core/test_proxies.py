"""Proxy variables of a corporate shell: no client of ours uses a proxy for loopback, whatever the variables hold."""

from __future__ import annotations

import os
from itertools import product

import httpx
import pytest
from requests.utils import should_bypass_proxies
from websockets.proxy import get_proxy
from websockets.uri import parse_uri

from core.proxies import is_loopback, keep_loopback_direct, proxy_for

NAMES = ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "Http_Proxy")
VALUES = (
    "http://proxy.example:3128",
    "proxy.example:3128",
    "https://proxy.example:3128",
    "http://user:p%40ss@proxy.example:3128",
    "socks5://proxy.example:1080",
    "socks5h://user:secret@proxy.example:1080",
    "socks4://proxy.example:1080",
    "socks://proxy.example:1080",
    "ftp://proxy.example:21",
    "http://proxy.example:port",
    "http://proxy.example:99999",
    "http://user:p#w@proxy.example:3128",
    "http://[::1",
    "http://",
    "nonsense of somebody",
    " ",
    "",
)
EXEMPT = (
    None,
    "",
    "*",
    "*,corp.example",
    "[::1]",
    "[::1]:80",
    "b\u00fccher.example",
    "http://[",
    "http://foo:bar",
    "a b,,;",
)
LOOPBACK = ("http://127.0.0.1:4200/api", "http://localhost:4200/api", "http://[::1]:4200/api")


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment without proxies."""
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    return monkeypatch


@pytest.mark.parametrize("name", NAMES)
def test_no_client_uses_a_proxy_for_loopback_whatever_the_variables_hold(name: str) -> None:
    for value, exempt in (*product(VALUES, EXEMPT[:1]), *product(VALUES[:1], EXEMPT[1:])):
        with pytest.MonkeyPatch.context() as patch:
            for variable in [variable for variable in os.environ if variable.lower().endswith("_proxy")]:
                patch.delenv(variable)
            no_proxy = {} if exempt is None else {"no_proxy" if name.islower() else "NO_PROXY": exempt}
            environment = {name: value} | no_proxy
            keep_loopback_direct(environment)
            corrected = dict(environment)
            keep_loopback_direct(environment)
            assert environment == corrected
            for variable, text in environment.items():
                patch.setenv(variable, text)
            with httpx.Client(verify=False) as client:
                for url in LOOPBACK:
                    direct = client._transport_for_url(httpx.URL(url)) is client._transport
                    assert direct, (name, value, exempt, url)
                    assert should_bypass_proxies(url, no_proxy=None), (name, value, exempt, url)
                    assert get_proxy(parse_uri(url.replace("http", "ws"))) is None, (name, value, exempt, url)
            assert all(proxy_for(url) is None for url in LOOPBACK)


def test_entries_of_both_spellings_of_no_proxy_are_kept() -> None:
    environment = {
        "HTTP_PROXY": "http://p:1",
        "NO_PROXY": ".corp.example, 10.0.0.0/8",
        "no_proxy": "[fd00::7]:80 a.example",
    }
    keep_loopback_direct(environment)
    assert environment["NO_PROXY"] == environment["no_proxy"]
    entries = environment["NO_PROXY"].split(",")
    assert entries == ["fd00::7", "a.example", ".corp.example", "10.0.0.0/8", "127.0.0.1", "localhost", "::1"]


def test_an_environment_without_proxies_is_unchanged() -> None:
    environment = {"PATH": "/bin"}
    keep_loopback_direct(environment)
    assert environment == {"PATH": "/bin"}


def test_another_loopback_address_of_prefects_server_is_exempt() -> None:
    environment = {"HTTP_PROXY": "http://p:1", "PREFECT_API_URL": "http://127.0.0.2:4200/api"}
    keep_loopback_direct(environment)
    assert environment["NO_PROXY"].endswith(",127.0.0.2")


@pytest.mark.parametrize(
    ("variables", "url", "shown"),
    [
        (
            {"HTTP_PROXY": "http://u:secret@p.example:3128"},
            "http://source.example",
            "http://p.example:3128 (HTTP_PROXY)",
        ),
        (
            {"http_proxy": "p.example:3128", "HTTP_PROXY": "http://q:1"},
            "http://s.example",
            "http://p.example:3128 (http_proxy)",
        ),
        ({"HTTP_PROXY": "http://p:1"}, "https://source.example", None),
        ({"https_proxy": "http://p:1"}, "https://source.example", "http://p:1 (https_proxy)"),
        ({"ALL_PROXY": "http://p:1"}, "http://source.example", "http://p:1 (ALL_PROXY)"),
        ({"HTTP_PROXY": "http://p:1", "NO_PROXY": "source.example"}, "http://source.example", None),
        ({"HTTP_PROXY": "http://p:1", "NO_PROXY": ".example"}, "http://source.example", None),
        ({"HTTP_PROXY": "http://p:1", "no_proxy": "*"}, "http://source.example", None),
        ({"HTTP_PROXY": "http://p:1", "NO_PROXY": "10.0.0.0/8"}, "http://10.1.2.3:80", None),
        ({"HTTP_PROXY": "http://p:1"}, "http://10.1.2.3:80", "http://p:1 (HTTP_PROXY)"),
        ({"HTTP_PROXY": " "}, "http://source.example", None),
    ],
)
def test_the_proxy_for_the_source_depends_on_its_scheme_and_host(
    variables: dict[str, str], url: str, shown: str | None, shell: pytest.MonkeyPatch
) -> None:
    for is_corrected in (False, True):  # a child process sees the corrected variables
        if is_corrected:
            keep_loopback_direct(variables)
        for name, value in variables.items():
            shell.setenv(name, value)
        proxy = proxy_for(url)
        assert (str(proxy) if proxy else None) == shown


@pytest.mark.parametrize(
    ("value", "defect"),
    [
        ("socks5h://user:secret@p.example:1080", "PySocks is missing"),
        ("socks://p.example:1080", "is not an address like"),
        ("ftp://user:secret@p.example:1", "is not an address like"),
        ("http://user:sec#ret@p.example:1", "is not an address like"),
        ("http://p.example:port", "is not an address like"),
    ],
)
def test_the_message_for_an_unusable_proxy_has_the_reason_and_no_password(value: str, defect: str) -> None:
    environment = {"ALL_PROXY": value}
    keep_loopback_direct(environment)
    assert "ALL_PROXY" not in environment  # httpx would fail for every host
    proxy = proxy_for("http://source.example", environment)
    assert proxy
    assert defect in (proxy.defect or "")
    assert "ALL_PROXY" in str(proxy)
    assert not any(part in f"{proxy!r} {proxy} {proxy.defect}" for part in ("secret", "sec#ret", "user"))


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.9.9.9", "127.1", "localhost", "a.localhost", "::1", "[::1]", "0.0.0.0"]
)
def test_loopback_is_recognised_in_any_spelling(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["10.0.0.1", "source.example", "localhost.example", "127.example", "fd00::1", ""])
def test_other_hosts_are_not_loopback(host: str) -> None:
    assert not is_loopback(host)
