"""Applies `automations.yaml` and the addresses of `ALERT_URLS` to a Prefect server."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from core.prefect_client import PrefectClient
from core.settings import Settings
from notifications.automations import BLOCK, TAG, Content, expand_notifications, read_automations
from notifications.delivery import Address, addresses

# In spite of its name, this block of Prefect accepts every Apprise address, such as mail.
_BLOCK_TYPE = "slack-webhook"
_PREFIX = BLOCK.format(place="")
_PUBLICATION_AUTOMATION = "Notify: nothing published"


@dataclass
class AppliedChanges:
    """Names of the automations that were created, changed and removed, and the number of addresses."""

    created: list[str]
    changed: list[str]
    removed: list[str]
    addresses: int

    def summary(self) -> str:
        """Return one line for the log."""
        parts = (("created", self.created), ("changed", self.changed), ("removed", self.removed))
        changes = "; ".join(f"{word} {', '.join(names)}" for word, names in parts if names) or "no change"
        if not self.addresses:
            return f"automations: {changes}; ALERT_URLS is empty: nobody is notified of failures"
        return f"automations: {changes}; notifications go to {self.addresses} address(es)"


def apply_automations(settings: Settings, api_url: str, login: str = "") -> AppliedChanges:
    """Create, change and remove automations and blocks that differ. Raises RequestException."""
    server = PrefectClient(api_url, login)
    block_ids, used_blocks = _apply_blocks(server, addresses(settings))
    automations = expand_notifications(read_automations(settings, api_url), [block_ids[name] for name in used_blocks])
    declared = {automation["name"]: automation for automation in automations}
    existing = {automation["name"]: automation for automation in _existing_automations(server)}
    changes = AppliedChanges([], [], [], len(used_blocks))
    for name, automation in declared.items():
        if name not in existing:
            server.ask("POST", "automations/", automation)
            changes.created.append(name)
        elif _comparable(automation) != _comparable(existing[name]):
            server.ask("PUT", f"automations/{existing[name]['id']}", automation)
            changes.changed.append(name)
    for name in existing.keys() - declared.keys():
        server.ask("DELETE", f"automations/{existing[name]['id']}")
        changes.removed.append(name)
    for name in block_ids.keys() - set(used_blocks):
        server.ask("DELETE", f"block_documents/{block_ids[name]}")
    # Not for an unchanged automation: the event would restart its wait, although it may have notified already.
    if _PUBLICATION_AUTOMATION in (*changes.created, *changes.changed):
        _expect_publication(server)
    return changes


def _existing_automations(server: PrefectClient) -> list[Content]:
    """Return the automations of the server that have our tag."""
    automations: list[Content] = server.ask("POST", "automations/filter", {"limit": 200})
    return [automation for automation in automations if TAG in automation.get("tags", [])]


def _comparable(automation: Content) -> Any:
    """Return an automation without the fields that the server adds."""
    from prefect.events.schemas.automations import AutomationCore  # slow import

    return AutomationCore.model_validate(automation)


def _apply_blocks(server: PrefectClient, addresses: Sequence[Address]) -> tuple[dict[str, str], list[str]]:
    """Create or change one block for each address. Return the ids of all our blocks by name, and the names in use."""
    block_type_id = server.ask("GET", f"block_types/slug/{_BLOCK_TYPE}")["id"]
    documents = server.ask("GET", f"block_types/slug/{_BLOCK_TYPE}/block_documents?include_secrets=true")
    existing = {block["name"]: block for block in documents if str(block["name"]).startswith(_PREFIX)}
    ids = {name: str(block["id"]) for name, block in existing.items()}
    names = []
    for place, address in enumerate(addresses, start=1):
        name = BLOCK.format(place=place)
        names.append(name)
        data = {"url": address.url}
        if name not in existing:
            schema_filter = {"block_schemas": {"block_type_id": {"any_": [block_type_id]}}, "limit": 1}
            schema_id = server.ask("POST", "block_schemas/filter", schema_filter)[0]["id"]
            content = {"name": name, "data": data, "block_type_id": block_type_id, "block_schema_id": schema_id}
            ids[name] = str(server.ask("POST", "block_documents/", content)["id"])
        elif existing[name]["data"].get("url") != address.url:
            server.ask("PATCH", f"block_documents/{ids[name]}", {"data": data, "merge_existing_data": False})
    return ids, names


def _expect_publication(server: PrefectClient) -> None:
    """Emit the event that starts the wait for a publication: nothing may have been published yet."""
    from prefect.events import Event

    event = Event(
        event="moovitamix.warehouse.expected",
        resource={"prefect.resource.id": "moovitamix.warehouse"},  # type: ignore[arg-type]
    )
    server.ask("POST", "events", [event.model_dump(mode="json")])
