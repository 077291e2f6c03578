"""Applying the automations to a simulated server."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import SecretStr

from core.settings import Settings
from services import automations
from services.automations import apply_automations

SETTINGS = Settings(_env_file=None, alert_urls=SecretStr("json://h"))  # type: ignore[call-arg]
API = "http://127.0.0.1:4200/api"


class SimulatedServer:
    """A server that stores what it receives."""

    def __init__(self) -> None:
        self.automations: dict[str, dict[str, Any]] = {}
        self.blocks: list[dict[str, Any]] = []
        self.events: list[str] = []

    def ask(self, method: str, path: str, content: Any = None) -> Any:
        if path == "automations/filter":
            return list(self.automations.values())
        if method in ("POST", "PUT") and path.startswith("automations/"):
            self.automations[content["name"]] = content | {"id": content["name"]}
        if path == "block_documents/":
            self.blocks.append(content | {"id": "a8a3dffd-0bf0-4b1f-9d1c-0a1c5b3c6a11"})
            return self.blocks[-1]
        if path.endswith("include_secrets=true"):
            return self.blocks
        if path == "block_schemas/filter":
            return [{"id": "schema"}]
        if path == "events":
            self.events += [event["event"] for event in content]
        return {"id": "any"}


def test_wait_for_a_publication_starts_once_for_each_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    server = SimulatedServer()
    monkeypatch.setattr(automations, "PrefectClient", lambda *_: server)
    for _ in range(3):
        apply_automations(SETTINGS, API)
    assert server.events == ["moovitamix.warehouse.expected"]
    changes = apply_automations(SETTINGS.model_copy(update={"alert_published_within_hours": 30}), API)
    assert changes.changed == ["Notify: nothing published"]
    assert len(server.events) == 2
