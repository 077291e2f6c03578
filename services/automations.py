"""Brings a Prefect server in line with `automations.yaml`, and its notification blocks with `ALERT_URLS`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from core.prefect_client import PrefectClient
from core.settings import Settings
from notifications.automations import BLOCK, TAG, Content, expand_notifications, read_automations
from notifications.delivery import Address, addresses

# The block of Prefect that hands any address of Apprise on as it is, mail too; its name is of its first use.
_BLOCK_TYPE = "slack-webhook"
_PREFIX = BLOCK.format(place="")
_AWAITS_PUBLICATION = "alert: nothing published"


@dataclass
class AppliedChanges:
    """What was changed, by name."""

    created: list[str]
    changed: list[str]
    removed: list[str]
    addresses: int

    def summary(self) -> str:
        """One line."""
        parts = (("created", self.created), ("changed", self.changed), ("removed", self.removed))
        done = "; ".join(f"{word} {', '.join(names)}" for word, names in parts if names) or "nothing to change"
        if not self.addresses:
            return f"automations: {done}; ALERT_URLS is empty: nobody is told when something goes wrong"
        return f"automations: {done}; alerts go to {self.addresses} address(es)"


def apply_automations(settings: Settings, api_url: str, login: str = "") -> AppliedChanges:
    """Make, change and remove what differs; again, it changes nothing. Raises RequestException."""
    server = PrefectClient(api_url, login)
    blocks, kept = _apply_blocks(server, addresses(settings))
    wanted = {
        one["name"]: one
        for one in expand_notifications(read_automations(settings, api_url), [blocks[name] for name in kept])
    }
    there = {one["name"]: one for one in _ours(server)}
    applied = AppliedChanges([], [], [], len(kept))
    for name, one in wanted.items():
        if name not in there:
            server.ask("POST", "automations/", one)
            applied.created.append(name)
        elif _as_sent(one) != _as_sent(there[name]):
            server.ask("PUT", f"automations/{there[name]['id']}", one)
            applied.changed.append(name)
    for name in there.keys() - wanted.keys():
        server.ask("DELETE", f"automations/{there[name]['id']}")
        applied.removed.append(name)
    for name in blocks.keys() - set(kept):
        server.ask("DELETE", f"block_documents/{blocks[name]}")
    # Told again, it would begin to wait anew after it had told of a publication that did not come.
    if _AWAITS_PUBLICATION in (*applied.created, *applied.changed):
        _expect_a_publication(server)
    return applied


def _ours(server: PrefectClient) -> list[Content]:
    found: list[Content] = server.ask("POST", "automations/filter", {"limit": 200})
    return [one for one in found if TAG in one.get("tags", [])]


def _as_sent(automation: Content) -> Any:
    """An automation without what a server adds, for comparison."""
    from prefect.events.schemas.automations import AutomationCore  # takes seconds, and only who applies needs it

    return AutomationCore.model_validate(automation)


def _apply_blocks(server: PrefectClient, wanted: Sequence[Address]) -> tuple[dict[str, str], list[str]]:
    """One block an address: the ids of all blocks of ours, and the names of those to be used."""
    kind = server.ask("GET", f"block_types/slug/{_BLOCK_TYPE}")["id"]
    there = server.ask("GET", f"block_types/slug/{_BLOCK_TYPE}/block_documents?include_secrets=true")
    ours = {one["name"]: one for one in there if str(one["name"]).startswith(_PREFIX)}
    ids = {name: str(one["id"]) for name, one in ours.items()}
    names = []
    for place, address in enumerate(wanted, start=1):
        name = BLOCK.format(place=place)
        names.append(name)
        data = {"url": address.url}
        if name not in ours:
            schema = server.ask("POST", "block_schemas/filter", _schemas_of(kind))[0]["id"]
            content = {"name": name, "data": data, "block_type_id": kind, "block_schema_id": schema}
            ids[name] = str(server.ask("POST", "block_documents/", content)["id"])
        elif ours[name]["data"].get("url") != address.url:
            server.ask("PATCH", f"block_documents/{ids[name]}", {"data": data, "merge_existing_data": False})
    return ids, names


def _schemas_of(kind: str) -> Content:
    return {"block_schemas": {"block_type_id": {"any_": [kind]}}, "limit": 1}


def _expect_a_publication(server: PrefectClient) -> None:
    """From now on something must be published in time, also if nothing ever was."""
    from prefect.events import Event

    event = Event(
        event="moovitamix.warehouse.expected",
        resource={"prefect.resource.id": "moovitamix.warehouse"},  # type: ignore[arg-type]
    )
    server.ask("POST", "events", [event.model_dump(mode="json")])
