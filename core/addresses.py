"""Hosts and ports."""

from __future__ import annotations

import socket


def bracket_ipv6(host: str) -> str:
    """The host as a URL needs it: an IPv6 address gets brackets."""
    return f"[{host}]" if ":" in host else host


def reachable_host(host: str) -> str:
    """The host for the URL of a server on this machine, which may listen on all addresses."""
    return "127.0.0.1" if host in ("0.0.0.0", "::") else bracket_ipv6(host)  # noqa: S104, a client's address


def refuse_port_in_use(host: str, port: int) -> None:
    """Raises OSError if another program listens on the port, or this user may not use it."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host, port))
