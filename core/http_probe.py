"""Probe a URL once. Imports only the standard library, because containers start this often."""

from __future__ import annotations

from http.client import HTTPException
from urllib.request import ProxyHandler, build_opener


def probe_failure(url: str, seconds: float) -> str | None:
    """Return why an address does not answer with success in time, or None. It never uses a proxy."""
    try:
        with build_opener(ProxyHandler({})).open(url, timeout=seconds):
            return None
    except (OSError, ValueError, HTTPException) as error:
        return str(error).strip() or type(error).__name__
