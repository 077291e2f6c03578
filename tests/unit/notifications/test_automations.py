"""Prefect accepts `automations.yaml`, it covers every flow, and its mails can be rendered without a server."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml
from prefect.events.schemas.automations import AutomationCore

from core.runbook import RUNBOOK
from core.settings import Settings
from flows import events, failures
from notifications import automations, incident_types
from notifications.automations import SEND, expand_notifications, read_automations, render_mail
from notifications.health_checks import FreeSpace
from notifications.notification import Notification

ROOT = Path(__file__).parent.parent.parent.parent
API = "http://127.0.0.1:4200/api"
BLOCK = "a8a3dffd-0bf0-4b1f-9d1c-0a1c5b3c6a11"
SETTINGS = Settings(_env_file=None)  # type: ignore[call-arg]
AUTOMATIONS = {automation["name"]: automation for automation in read_automations(SETTINGS, API)}
NOW = datetime(2026, 11, 22, 4, tzinfo=UTC)


@pytest.mark.parametrize("name", AUTOMATIONS)
def test_prefect_accepts_each_automation(name: str) -> None:
    [expanded] = expand_notifications([AUTOMATIONS[name]], [BLOCK])
    automation = AutomationCore.model_validate(expanded)
    assert automation.tags == [automations.TAG]
    assert automation.description


def test_failure_automations_cover_every_flow() -> None:
    deployments = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
    flow_names = {deployment["entrypoint"].partition(":")[2] for deployment in deployments}
    for name in ("Notify: a run failed", "Notify: a run crashed"):
        assert set(AUTOMATIONS[name]["trigger"]["match_related"]["prefect.resource.name"]) == flow_names
    sources = {name: (ROOT / f"flows/{name}.py").read_text() for name in flow_names}
    assert [name for name, text in sources.items() if "\n@handle_failures\ndef " not in text] == []


def test_expected_events_are_those_that_flows_emit() -> None:
    expected = {
        event
        for automation in AUTOMATIONS.values()
        for part in ("expect", "after")
        for event in automation["trigger"].get(part, [])
    }
    own_events = {event for event in expected if event.startswith("moovitamix.")}
    assert own_events - {"moovitamix.warehouse.expected"} == {
        events.WAREHOUSE_PUBLISHED,
        events.WAREHOUSE_UNCHANGED,
        events.ALARM_RAISED,
        events.ALARM_ANSWERED,
        failures.BATCH_BLOCKED,
        failures.STREAM_AUDIT_FAILED,
    }


def test_proactive_trigger_waits_for_its_start_event() -> None:
    """Without `for_each`, Prefect ignores `after` and starts to wait when the automation is created."""
    proactive = [
        automation["trigger"] for automation in AUTOMATIONS.values() if automation["trigger"]["posture"] == "Proactive"
    ]
    assert len(proactive) == 1
    assert all(trigger["after"] and trigger["for_each"] == ["prefect.resource.id"] for trigger in proactive)


def test_templates_use_the_event_only() -> None:
    actions = [action for automation in AUTOMATIONS.values() for action in automation["actions"]]
    texts = [action[part] for action in actions if action["type"] == SEND for part in ("subject", "body")]
    variables = {word for text in texts for word in re.findall(r"\{\{-?\s*(\w+)", text)} - {"message"}
    assert variables == {"event"}


@pytest.mark.parametrize("links", [{}, {"Run": "http://p/runs/flow-run/1", "Audit": "http://d/validations/x.html"}])
def test_payload_renders_the_mail_of_its_notification(links: dict[str, str]) -> None:
    notification = Notification(
        "batch-blocked:x", "critical", "x is blocked", NOW, "all {{ 1 }}", "replay", "<b> & more", links
    )
    event = {"payload": notification.payload(), "resource": {}}
    assert render_mail(SETTINGS, API, "Notify: a batch is blocked", event) == (notification.subject, notification.body)


def test_automations_without_actions_are_omitted() -> None:
    automations_of_file = [*AUTOMATIONS.values(), {"name": "runs", "actions": [{"type": "run-deployment"}]}]
    assert [automation["name"] for automation in expand_notifications(automations_of_file, [])] == ["runs"]


def test_each_address_has_its_own_action() -> None:
    [expanded] = expand_notifications([AUTOMATIONS["Notify: nothing published"]], [BLOCK, BLOCK])
    assert len(expanded["actions"]) == 2


def test_every_next_step_is_in_the_runbook() -> None:
    headings = re.findall(r"^## (.+)$", (ROOT / RUNBOOK).read_text(), re.M)
    anchors = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    text = "".join(
        file.read_text()
        for file in (*ROOT.glob("notifications/*.py"), ROOT / "automations.yaml", ROOT / "flows/events.py")
    )
    sections = set(re.findall(r"(?:operations\.md|\{RUNBOOK\})#([\w-]+)", text))
    source = (ROOT / "flows/failure_classification.py").read_text() + (ROOT / "flows/failures.py").read_text()
    sections |= set(re.findall(r"\{RUNBOOK\}#([\w-]+)", source)) | set(re.findall(r'"([a-z]+(?:-[a-z]+){2,})"', source))
    sections_in_docs = set(re.findall(r"operations\.md#([\w-]+)", (ROOT / "docs/notifications.md").read_text()))
    assert sections <= anchors
    assert sections_in_docs <= anchors
    assert len(sections) > 12


@pytest.mark.parametrize(
    "notification",
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
        incident_types.stream_broker(NOW, "no answer in time"),
        incident_types.stream_consumer(NOW, "it was stopped"),
        incident_types.stream_lag(NOW, "messages are consumed 90 s late", SETTINGS),
        incident_types.stream_rejected(NOW, "9 of 20 messages", SETTINGS),
        incident_types.stream_topic(NOW, "moovitamix.listens"),
    ],
    ids=lambda notification: notification.key,
)
def test_mail_has_all_four_lines(notification: Notification) -> None:
    lines = notification.body.splitlines()
    assert [line.partition(":")[0] for line in lines] == ["What", "Since", "Kept", "Next"]
    assert lines[1] == "Since:  2026-11-22 04:00:00 UTC"
    assert RUNBOOK in notification.next
    assert len(notification.subject) < 80


def test_long_detail_is_truncated() -> None:
    assert len(Notification("x", "warning", "x", NOW, "k", "n", "y" * 5000).body) < 800


@pytest.mark.parametrize(
    ("event", "ending"),
    [("moovitamix.warehouse.published", "Since:  today"), ("moovitamix.warehouse.expected", "set up, or longer")],
)
def test_mail_says_if_the_last_publication_is_unknown(event: str, ending: str) -> None:
    mail = render_mail(SETTINGS, API, "Notify: nothing published", {"event": event, "occurred": "today"})
    assert mail is not None
    [since_line] = [line for line in mail[1].splitlines() if line.startswith("Since:")]
    assert since_line.endswith(ending)
