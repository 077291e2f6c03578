"""Read `automations.yaml`, the notifications about runs and events, which Prefect's server sends.

Fills in settings, and renders the mails without a server. Does not import Prefect. Notifications about the machine and
its services belong in `notifications/incident_types.py`, because the watchdog sends them.
"""

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
# Automations on a server without this tag are never changed.
TAG = "moovitamix-automations"
BLOCK = "moovitamix-alerts-{place}"
SEND = "send-notification"

Content = dict[str, Any]

_templates = ImmutableSandboxedEnvironment(undefined=ChainableUndefined, autoescape=False)


def read_automations(settings: Settings, api_url: str) -> list[Content]:
    """Return the automations of the file, with its placeholders filled in from the settings."""
    hours = settings.alert_published_within_hours
    values = {
        "prefect_ui": settings.prefect_ui_url.rstrip("/") or api_url.rstrip("/").removesuffix("/api"),
        "published_within_hours": f"{hours:g}",
        "published_within_seconds": str(round(hours * 3600)),
    }
    automations: list[Content] = yaml.safe_load(Template(FILE.read_text()).substitute(values))["automations"]
    return automations


def expand_notifications(automations: Sequence[Content], block_ids: Sequence[str]) -> list[Content]:
    """Return the automations with one notification action for each block. Automations without an action are omitted."""
    expanded = []
    for automation in automations:
        actions = [action for declared in automation["actions"] for action in _for_each_block(declared, block_ids)]
        if actions:
            expanded.append(automation | {"actions": actions, "tags": [TAG]})
    return expanded


def render_mail(settings: Settings, api_url: str, name: str, event: Content | None) -> tuple[str, str] | None:
    """Return subject and text of the mail that the automation sends about an event; None if it sends no mail."""
    for automation in read_automations(settings, api_url):
        for action in automation["actions"]:
            if automation["name"] == name and action["type"] == SEND:
                subject, body = (
                    _templates.from_string(action[part]).render(event=event) for part in ("subject", "body")
                )
                return subject, body
    return None


def _for_each_block(action: Content, block_ids: Sequence[str]) -> list[Content]:
    if action["type"] != SEND:
        return [action]
    return [action | {"block_document_id": block_id} for block_id in block_ids]
