"""HTTP proxies of a corporate network. Requests to this machine use no proxy.

The variables are HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY, in upper or lower case. Each HTTP client reads them
in its own way. `httpx`, which Prefect uses, fails for all hosts if it cannot parse one proxy or one entry of NO_PROXY.
`keep_loopback_direct` corrects the variables before Prefect is imported, and child processes inherit them.
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
# The prefix of a renamed variable: httpx cannot use its proxy, but the client of the source API may.
_RENAMED_PREFIX = "SOURCE_"
_HOST = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::(\d{1,5}))?")
# An entry of NO_PROXY that every client can parse: a host, domain, address or network, with or without a port.
_NO_PROXY_ENTRY = re.compile(r"[A-Za-z0-9._*-]+(?::\d{1,5}|/\d{1,2})?")


@dataclass(frozen=True)
class Proxy:
    """A proxy and the variable that sets it. `url` may hold a password; `str` of this object does not."""

    url: str
    variable: str

    def __str__(self) -> str:
        """Scheme, host, port and variable, for messages."""
        scheme, _, _ = self._address.partition("://")
        host = _host_of(self._address)
        return f"{scheme}://{host} ({self.variable})" if _HOST.fullmatch(host) else f"of {self.variable}"

    __repr__ = __str__

    @property
    def defect(self) -> str | None:
        """Why `requests` cannot use the proxy, and what to do; None if it can."""
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
    """Whether a request to a host name or address reaches this machine. The name is not resolved."""
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


def is_unspecified(host: str) -> bool:
    """Whether a server with this host listens on all addresses of its machine, as with 0.0.0.0 or ::."""
    with suppress(ValueError):
        address = ipaddress.ip_address(host.strip("[]"))
        return bool((getattr(address, "ipv4_mapped", None) or address).is_unspecified)
    return not host


def keep_loopback_direct(environment: MutableMapping[str, str]) -> None:
    """Correct the proxy variables for this process and its children. A second call changes nothing."""
    if not any(name.lower().endswith("_proxy") for name in environment):
        return
    for name in _NAMES:
        for variable in _spellings(environment, name):
            value = environment[variable].strip()
            if value and not _usable_by_httpx(value):
                environment[f"{_RENAMED_PREFIX}{variable}"] = environment.pop(variable)
    entries = _no_proxy_entries(environment)
    hosts = dict.fromkeys((*entries, *_LOOPBACK, *_loopback_in_use(environment)))
    no_proxy = "*" if "*" in entries else ",".join(hosts)  # clients accept * only if it is the sole entry
    environment.update(no_proxy=no_proxy, NO_PROXY=no_proxy)


def any_proxy_set(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether any proxy variable has a value."""
    variables = [variable for name in _NAMES for variable in _variables_for(environment, name)]
    return any(environment[variable].strip() for variable in variables)


def proxy_for(url: str, environment: Mapping[str, str] = os.environ) -> Proxy | None:
    """The proxy for requests to the source API, or None. Loopback and hosts of NO_PROXY need none."""
    from requests.utils import should_bypass_proxies

    parts = urlsplit(url)
    if is_loopback(parts.hostname or ""):
        return None
    entries = _no_proxy_entries(environment)
    if "*" in entries or should_bypass_proxies(url, no_proxy=",".join(entries)):
        return None
    for name in (f"{parts.scheme.lower()}_proxy", "all_proxy"):
        variables = _variables_for(environment, name)
        for variable in sorted(variables, key=lambda spelling: not spelling.removeprefix(_RENAMED_PREFIX).islower()):
            if value := environment[variable].strip():
                return Proxy(value, variable.removeprefix(_RENAMED_PREFIX))
    return None


def _variables_for(environment: Mapping[str, str], name: str) -> list[str]:
    """The spellings of a proxy variable in the environment, the renamed ones last."""
    return [*_spellings(environment, name), *_spellings(environment, f"{_RENAMED_PREFIX}{name}")]


def _spellings(environment: Mapping[str, str], name: str) -> list[str]:
    """The variables with this name in upper or lower case. Lower case comes first, because it takes precedence."""
    spellings = [variable for variable in environment if variable.lower() == name.lower()]
    return sorted(spellings, key=lambda variable: (not variable.islower(), variable))


def _no_proxy_entries(environment: Mapping[str, str]) -> list[str]:
    """The valid entries of NO_PROXY and no_proxy, in a form that every client can parse."""
    text = ",".join(environment[variable] for variable in _spellings(environment, "no_proxy"))
    return [entry for word in re.split(r"[\s,;]+", text) if (entry := _normalize_entry(word))]


def _normalize_entry(word: str) -> str:
    """One entry without scheme and brackets, because some clients cannot parse them. Empty if it is invalid."""
    text = word.rpartition("://")[2].rstrip("/")
    text = re.sub(r"^\[(.*)\](?::\d+)?$", r"\1", text)
    with suppress(ValueError):
        ipaddress.ip_network(text, strict=False)
        return text
    return text if _NO_PROXY_ENTRY.fullmatch(text) else ""


def _loopback_in_use(environment: Mapping[str, str]) -> list[str]:
    """The host of Prefect's API, if it is a loopback address."""
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
    """Whether httpx, urllib3 and websockets can parse the host and port."""
    try:
        parts = urlsplit(address)
        port = parts.port
    except ValueError:
        return False
    is_valid_host = _HOST.fullmatch(_host_of(address)) is not None
    has_only_host = parts.path in ("", "/") and not parts.query and not parts.fragment
    return bool(is_valid_host and parts.hostname and has_only_host and port != 0)


def _host_of(address: str) -> str:
    """Host and port: the text after the last @, because an unencoded password may hold any character."""
    return address.partition("://")[2].rpartition("@")[2].partition("/")[0]
