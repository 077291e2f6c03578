"""Hosts and ports."""

from __future__ import annotations

import socket


def bracket_ipv6(host: str) -> str:
    """The host as a URL needs it: an IPv6 address gets brackets."""
    return f"[{host}]" if ":" in host else host


def refuse_port_in_use(host: str, port: int) -> None:
    """Raises OSError when another program listens on the port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host, port))
