"""`automations.yaml`: read, filled in from the settings, and its mails made without a server. Knows no Prefect."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from string import Template
from typing import Any

import yaml
from jinja2 import ChainableUndefined
from jinja2.sandbox import ImmutableSandboxedEnvironment

from core.settings import Settings

FILE = Path(__file__).parent.parent / "automations.yaml"
# The tag of what is ours: nothing else on a server is touched.
TAG = "moovitamix-automations"
BLOCK = "moovitamix-alerts-{place}"
SEND = "send-notification"

Content = dict[str, Any]

_templates = ImmutableSandboxedEnvironment(undefined=ChainableUndefined, autoescape=False)


def read(settings: Settings, api_url: str) -> list[Content]:
    """What the file declares, with what depends on the settings filled in."""
    hours = settings.alert_published_within_hours
    values = {
        "prefect_ui": settings.prefect_ui_url.rstrip("/") or api_url.rstrip("/").removesuffix("/api"),
        "published_within_hours": f"{hours:g}",
        "published_within_seconds": str(round(hours * 3600)),
    }
    found: list[Content] = yaml.safe_load(Template(FILE.read_text()).substitute(values))["automations"]
    return found


def for_blocks(declared: Sequence[Content], block_ids: Sequence[str]) -> list[Content]:
    """As a server takes them: one notification a block. What would do nothing is left out."""
    full = []
    for one in declared:
        actions = [action for given in one["actions"] for action in _for_each(given, block_ids)]
        if actions:
            full.append(one | {"actions": actions, "tags": [TAG]})
    return full


def mail_of(settings: Settings, api_url: str, name: str, event: Content | None) -> tuple[str, str] | None:
    """Subject and text of what the automation of that name sends about an event; None when it sends nothing."""
    for one in read(settings, api_url):
        for action in one["actions"]:
            if one["name"] == name and action["type"] == SEND:
                subject, body = (
                    _templates.from_string(action[part]).render(event=event) for part in ("subject", "body")
                )
                return subject, body
    return None


def _for_each(action: Content, block_ids: Sequence[str]) -> list[Content]:
    return [action | {"block_document_id": one} for one in block_ids] if action["type"] == SEND else [action]
