"""HTTP proxies of a corporate network: loopback never takes one, and what a client of ours cannot use harms none.

The variables are HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY, in capitals or not. Each client reads them in its own
way: `httpx`, in Prefect, fails for all hosts when one proxy or one entry of NO_PROXY is not to its liking. So they are
put in order once, before anything imports Prefect, and child processes inherit them.
"""

from __future__ import annotations

import ipaddress
import os
import re
import socket
from collections.abc import Mapping, MutableMapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from urllib.parse import urlsplit

_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_NAMES = ("http_proxy", "https_proxy", "all_proxy")
# Set aside under another name: a proxy that only the source may take, because httpx would fail for every host.
_SET_ASIDE = "SOURCE_"
_HOST = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::(\d{1,5}))?")
# An entry of NO_PROXY that every client takes: a name, its domain, an address, a network; perhaps with a port.
_EXEMPT = re.compile(r"[A-Za-z0-9._*-]+(?::\d{1,5}|/\d{1,2})?")


@dataclass(frozen=True)
class Proxy:
    """A proxy and the variable that names it. `url` may hold a password; the text of this object does not."""

    url: str
    variable: str

    def __str__(self) -> str:
        """Scheme, host and port, and the variable: for messages."""
        scheme, _, _ = self._address.partition("://")
        host = _host_of(self._address)
        return f"{scheme}://{host} ({self.variable})" if _HOST.fullmatch(host) else f"of {self.variable}"

    __repr__ = __str__

    @property
    def defect(self) -> str | None:
        """Why `requests` cannot use it and what to do, or None."""
        scheme, _, _ = self._address.partition("://")
        if scheme.lower().startswith("socks"):
            if scheme.lower() not in ("socks4", "socks4a", "socks5", "socks5h"):
                return "is not an address like http://host:port or socks5h://host:port"
            if find_spec("socks") is None:
                return "is a SOCKS proxy, and the package PySocks is missing: name an HTTP proxy, or install PySocks"
            return None
        return None if _is_http(self._address) else "is not an address like http://host:port"

    @property
    def _address(self) -> str:
        return self.url if "://" in self.url else f"http://{self.url}"


def is_loopback(host: str) -> bool:
    """Whether a host is this machine, by its name or number; it is not looked up."""
    name = host.strip("[]").rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    with suppress(ValueError):
        address = ipaddress.ip_address(name)
        mapped = getattr(address, "ipv4_mapped", None) or address
        return bool(mapped.is_loopback or mapped.is_unspecified)
    with suppress(OSError):  # other ways to write 127.0.0.1, such as 127.1
        return re.fullmatch(r"[0-9a-fx.]+", name) is not None and socket.inet_aton(name)[0] == 127
    return False


def keep_loopback_direct(environment: MutableMapping[str, str]) -> None:
    """Put the proxy variables in order, for this process and its children. Doing it again changes nothing."""
    if not any(name.lower().endswith("_proxy") for name in environment):
        return
    for name in _NAMES:
        for variable in _spellings(environment, name):
            value = environment[variable].strip()
            if value and not _usable_by_httpx(value):
                environment[f"{_SET_ASIDE}{variable}"] = environment.pop(variable)
    exempt = _exempt(environment)
    all_exempt = "*" in exempt  # which counts only if it stands alone
    direct = "*" if all_exempt else ",".join(dict.fromkeys((*exempt, *_LOOPBACK, *_loopback_in_use(environment))))
    environment.update(no_proxy=direct, NO_PROXY=direct)


def any_proxy_set(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether any proxy is named."""
    variables = [found for name in _NAMES for found in _spellings(environment, name)]
    variables += [found for name in _NAMES for found in _spellings(environment, f"{_SET_ASIDE}{name}")]
    return any(environment[variable].strip() for variable in variables)


def proxy_for(url: str, environment: Mapping[str, str] = os.environ) -> Proxy | None:
    """The proxy that a request to the source takes, or None: loopback and hosts of NO_PROXY take none."""
    from requests.utils import should_bypass_proxies

    parts = urlsplit(url)
    if is_loopback(parts.hostname or ""):
        return None
    exempt = _exempt(environment)
    if "*" in exempt or should_bypass_proxies(url, no_proxy=",".join(exempt)):
        return None
    for name in (f"{parts.scheme.lower()}_proxy", "all_proxy"):
        candidates = [*_spellings(environment, name), *_spellings(environment, f"{_SET_ASIDE}{name}")]
        for variable in sorted(candidates, key=lambda spelling: not spelling.removeprefix(_SET_ASIDE).islower()):
            if value := environment[variable].strip():
                return Proxy(value, variable.removeprefix(_SET_ASIDE))
    return None


def _spellings(environment: Mapping[str, str], name: str) -> list[str]:
    """The variables of that name, however they are spelled: the one in small letters first, for it wins."""
    found = [variable for variable in environment if variable.lower() == name.lower()]
    return sorted(found, key=lambda variable: (not variable.islower(), variable))


def _exempt(environment: Mapping[str, str]) -> list[str]:
    """The entries of both spellings of NO_PROXY, as every client reads them, without those that nobody can read."""
    text = ",".join(environment[variable] for variable in _spellings(environment, "no_proxy"))
    return [entry for word in re.split(r"[\s,;]+", text) if (entry := _entry(word))]


def _entry(word: str) -> str:
    """One entry without scheme and brackets, which some clients fail at; empty if it is none."""
    text = word.rpartition("://")[2].rstrip("/")
    text = re.sub(r"^\[(.*)\](?::\d+)?$", r"\1", text)
    with suppress(ValueError):
        ipaddress.ip_network(text, strict=False)
        return text
    return text if _EXEMPT.fullmatch(text) else ""


def _loopback_in_use(environment: Mapping[str, str]) -> list[str]:
    """The host of Prefect's API, if it is another address of this machine."""
    with suppress(ValueError):
        host = urlsplit(environment.get("PREFECT_API_URL", "")).hostname or ""
        return [host] if is_loopback(host) else []
    return []


def _usable_by_httpx(value: str) -> bool:
    address = value if "://" in value else f"http://{value}"
    if address.lower().startswith(("socks5://", "socks5h://")):
        return find_spec("socksio") is not None and find_spec("python_socks") is not None and _has_host(address)
    return _is_http(address)


def _is_http(address: str) -> bool:
    return address.lower().startswith(("http://", "https://")) and _has_host(address)


def _has_host(address: str) -> bool:
    """Whether host and port can be read, by us as by httpx, urllib3 and websockets."""
    try:
        parts = urlsplit(address)
        port = parts.port
    except ValueError:
        return False
    found = _HOST.fullmatch(_host_of(address))
    whole = parts.path in ("", "/") and not parts.query and not parts.fragment
    return bool(found and parts.hostname and whole and port != 0)


def _host_of(address: str) -> str:
    """Host and port, without what comes before the last @: a password that is not encoded may hold any character."""
    return address.partition("://")[2].rpartition("@")[2].partition("/")[0]
