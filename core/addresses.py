"""Hosts in URLs."""

from __future__ import annotations


def bracket_ipv6(host: str) -> str:
    """A host as it stands in a URL: an IPv6 address in brackets."""
    return f"[{host}]" if ":" in host else host
