"""Whether a service of this machine answers. It imports the standard library only: containers probe often."""

from __future__ import annotations

from urllib.request import ProxyHandler, build_opener


def probe_failure(url: str, seconds: float) -> str | None:
    """Return why an address does not answer with success in time, or None. It never uses a proxy."""
    try:
        with build_opener(ProxyHandler({})).open(url, timeout=seconds):
            return None
    except (OSError, ValueError) as error:
        return str(error)
