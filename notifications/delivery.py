"""Addresses, and a message sent to one of them. An address holds a password: it is never printed, logged or raised."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from core.settings import Settings, alert_urls_of

_MAIL = ("mailto://", "mailtos://")


@dataclass(frozen=True)
class Address:
    """One of `ALERT_URLS`: `name` is how it may be called, by its place; `id` is the same wherever it stands."""

    name: str
    id: str
    url: str = field(repr=False)


Send = Callable[[Address, str, str], bool]


def addresses(settings: Settings) -> list[Address]:
    """Where alerts go, in the order of the setting; nowhere when it is empty."""
    return [
        Address(f"address {place}", hashlib.sha256(url.encode()).hexdigest()[:12], _as_plain_text(url))
        for place, url in enumerate(dict.fromkeys(alert_urls_of(settings)), start=1)
    ]


def send(address: Address, subject: str, body: str) -> bool:
    """Whether the message was taken. Never raises, and says nothing about why it was not."""
    from apprise import Apprise, AppriseAsset, NotifyFormat  # takes a while, and only who sends needs it

    # What it logs may hold parts of an address.
    logging.getLogger("apprise").setLevel(logging.CRITICAL + 1)
    try:
        client = Apprise(asset=AppriseAsset(app_id="MoovitaMix", app_desc="MoovitaMix", app_url=""))
        known = client.add(address.url)
        return bool(known and client.notify(body=body, title=subject, body_format=NotifyFormat.TEXT))
    except Exception:  # a plugin's defect is one more way not to deliver
        return False


def _as_plain_text(url: str) -> str:
    """Mail as it is written; Apprise would make HTML of it."""
    if not url.startswith(_MAIL) or "format=" in url:
        return url
    return f"{url}{'&' if '?' in url else '?'}format=text"
