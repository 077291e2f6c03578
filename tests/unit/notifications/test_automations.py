"""`automations.yaml` is what Prefect takes, knows every flow, and its mails can be made without a server."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml
from prefect.events.schemas.automations import AutomationCore

from core.settings import Settings
from flows import events, failures
from notifications import automations, incident_types
from notifications.automations import SEND, expand_notifications, read_automations, render_mail
from notifications.health_checks import FreeSpace
from notifications.notification import RUNBOOK, Notification

ROOT = Path(__file__).parent.parent.parent.parent
API = "http://127.0.0.1:4200/api"
BLOCK = "a8a3dffd-0bf0-4b1f-9d1c-0a1c5b3c6a11"
SETTINGS = Settings(_env_file=None)  # type: ignore[call-arg]
DECLARED = {one["name"]: one for one in read_automations(SETTINGS, API)}
NOW = datetime(2026, 11, 22, 4, tzinfo=UTC)


@pytest.mark.parametrize("name", DECLARED)
def test_prefect_takes_it(name: str) -> None:
    [full] = expand_notifications([DECLARED[name]], [BLOCK])
    taken = AutomationCore.model_validate(full)
    assert taken.tags == [automations.TAG]
    assert taken.description


def test_every_flow_is_told_of() -> None:
    deployments = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
    flows = {one["entrypoint"].partition(":")[2] for one in deployments}
    for name in ("alert: a run failed", "alert: a run crashed"):
        assert set(DECLARED[name]["trigger"]["match_related"]["prefect.resource.name"]) == flows
    sources = {name: (ROOT / f"flows/{name}.py").read_text() for name in flows}
    assert [name for name, text in sources.items() if "\n@handle_failures\ndef " not in text] == []


def test_events_that_are_waited_for_are_those_that_are_told() -> None:
    waited = {
        event for one in DECLARED.values() for part in ("expect", "after") for event in one["trigger"].get(part, [])
    }
    ours = {event for event in waited if event.startswith("moovitamix.")} - {"moovitamix.warehouse.expected"}
    assert ours == {
        events.WAREHOUSE_PUBLISHED,
        events.WAREHOUSE_UNCHANGED,
        events.ALARM_RAISED,
        events.ALARM_ANSWERED,
        failures.BATCH_BLOCKED,
    }


def test_a_proactive_trigger_waits_for_its_beginning() -> None:
    """Without `for_each`, Prefect begins to wait when the automation is made, whatever stands in `after`."""
    proactive = [one["trigger"] for one in DECLARED.values() if one["trigger"]["posture"] == "Proactive"]
    assert len(proactive) == 1
    assert all(one["after"] and one["for_each"] == ["prefect.resource.id"] for one in proactive)


def test_templates_use_the_event_alone() -> None:
    texts = [action[part] for one in DECLARED.values() for action in one["actions"] if action["type"] == SEND
             for part in ("subject", "body")]  # fmt: skip
    used = {word for text in texts for word in re.findall(r"\{\{-?\s*(\w+)", text)} - {"told"}
    assert used == {"event"}


def test_a_payload_becomes_the_same_mail_as_the_alert_itself() -> None:
    alert = Notification("batch-blocked:x", "critical", "x is blocked", NOW, "all {{ 1 }}", "replay", "<b> & more")
    event = {"payload": alert.payload(), "resource": {}}
    assert render_mail(SETTINGS, API, "alert: a batch is blocked", event) == (alert.subject, alert.body)


def test_without_an_address_only_what_does_something_is_made() -> None:
    declared = [*DECLARED.values(), {"name": "runs", "actions": [{"type": "run-deployment"}]}]
    assert [one["name"] for one in expand_notifications(declared, [])] == ["runs"]


def test_each_address_has_its_own_action() -> None:
    [full] = expand_notifications([DECLARED["alert: nothing published"]], [BLOCK, BLOCK])
    assert len(full["actions"]) == 2


def test_every_next_step_is_in_the_runbook() -> None:
    headings = re.findall(r"^## (.+)$", (ROOT / RUNBOOK).read_text(), re.M)
    anchors = {re.sub(r"[^\w -]", "", one.lower()).replace(" ", "-") for one in headings}
    text = "".join(
        file.read_text()
        for file in (*ROOT.glob("notifications/*.py"), ROOT / "automations.yaml", ROOT / "flows/events.py")
    )
    told = set(re.findall(r"(?:operations\.md|\{RUNBOOK\})#([\w-]+)", text))
    source = (ROOT / "flows/failure_classification.py").read_text() + (ROOT / "flows/failures.py").read_text()
    told |= set(re.findall(r"\{RUNBOOK\}#([\w-]+)", source)) | set(re.findall(r'"([a-z]+(?:-[a-z]+){2,})"', source))
    documented = set(re.findall(r"operations\.md#([\w-]+)", (ROOT / "docs/notifications.md").read_text()))
    assert told <= anchors
    assert documented <= anchors
    assert len(told) > 12


@pytest.mark.parametrize(
    "alert",
    [
        incident_types.database(NOW, "no connection"),
        incident_types.prefect(NOW, "ConnectionError"),
        incident_types.serving(NOW, "HTTP 500"),
        incident_types.disk(NOW, FreeSpace(1, 2), SETTINGS),
        incident_types.memory(NOW, FreeSpace(1, 2), SETTINGS),
        incident_types.unpublished(NOW, 27),
        incident_types.worker(NOW, "it was stopped"),
        incident_types.unstable_process(NOW, "data-docs", "does not start", SETTINGS),
        incident_types.undeliverable(NOW, "address 1", SETTINGS),
    ],
    ids=lambda alert: alert.key,
)
def test_an_alert_says_what_since_when_what_is_kept_and_what_next(alert: Notification) -> None:
    lines = alert.body.splitlines()
    assert [line.partition(":")[0] for line in lines] == ["What", "Since", "Kept", "Next"]
    assert lines[1] == "Since:  2026-11-22 04:00:00 UTC"
    assert RUNBOOK in alert.next
    assert len(alert.subject) < 80


def test_a_long_reason_is_cut() -> None:
    assert len(Notification("x", "warning", "x", NOW, "k", "n", "y" * 5000).body) < 800


@pytest.mark.parametrize(
    ("event", "said"),
    [("moovitamix.warehouse.published", "Since:  today"), ("moovitamix.warehouse.expected", "set up, or longer")],
)
def test_since_when_nothing_was_published_says_when_it_is_not_known(event: str, said: str) -> None:
    mail = render_mail(SETTINGS, API, "alert: nothing published", {"event": event, "occurred": "today"})
    assert mail is not None
    [since] = [line for line in mail[1].splitlines() if line.startswith("Since:")]
    assert since.endswith(said)
