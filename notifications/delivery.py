"""Send messages to addresses. An address contains a password, so it is never printed, logged or raised."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from core.settings import Settings, alert_urls_of
from notifications.defects import record_defect

_MAIL = ("mailto://", "mailtos://")


@dataclass(frozen=True)
class Address:
    """One of `ALERT_URLS`. `name` is its position, for messages; `id` does not depend on the position."""

    name: str
    id: str
    url: str = field(repr=False)


Send = Callable[[Address, str, str], bool]


def addresses(settings: Settings) -> list[Address]:
    """Return the addresses of the setting in their order, without duplicates."""
    return [
        Address(f"address {position}", hashlib.sha256(url.encode()).hexdigest()[:12], _as_plain_text(url))
        for position, url in enumerate(dict.fromkeys(alert_urls_of(settings)), start=1)
    ]


def send(address: Address, subject: str, body: str) -> bool:
    """Send a message, and return whether the address accepted it. Never raises, and never logs the address.

    A defect of Apprise counts as a failed delivery. It is logged with its traceback and shown on the health page.
    """
    from apprise import Apprise, AppriseAsset, NotifyFormat  # slow import, which only senders need

    # Its log lines may contain parts of an address.
    logging.getLogger("apprise").setLevel(logging.CRITICAL + 1)
    try:
        client = Apprise(asset=AppriseAsset(app_id="MoovitaMix", app_desc="MoovitaMix", app_url=""))
        is_valid = client.add(address.url)
        return bool(is_valid and client.notify(body=body, title=subject, body_format=NotifyFormat.TEXT))
    except Exception as error:
        record_defect(error)
        return False


def _as_plain_text(url: str) -> str:
    """Ask Apprise to send mail as plain text. Its default is HTML."""
    if not url.startswith(_MAIL) or "format=" in url:
        return url
    return f"{url}{'&' if '?' in url else '?'}format=text"
