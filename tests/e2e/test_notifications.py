"""Notifications with a real Prefect server, failing runs, and a mail server that is running or stopped."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import requests
from prefect.events import Event
from pydantic import SecretStr

from core.clock import utc_now
from core.prefect_client import PrefectClient
from core.settings import Settings
from demo.local_services import free_ports
from notifications.automations import TAG, expand_notifications, read_automations
from notifications.delivery import addresses, send
from notifications.failed_notifications import FailedNotifications, resend_failed_notifications
from notifications.incidents import IncidentStore
from notifications.notification import Notification
from notifications.send_test import main as send_test_alert
from services.automations import apply_automations
from tests.conftest import ROOT, MockApi
from tests.e2e.mailbox import Mailbox

# Apprise imports a deprecated module.
pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")

DAY = "2026-11-20"
PASSWORD = "pa55word-of-the-mail-server"


@dataclass
class NotifyingServer:
    """A Prefect server with the project's automations, and the mailbox for their notifications."""

    api_url: str
    home: Path
    mailbox: Mailbox
    settings: Settings

    def apply(self, **changes: Any) -> dict[str, list[str]]:
        changes_made = apply_automations(self.settings.model_copy(update=changes), self.api_url)
        return {"made": changes_made.created, "changed": changes_made.changed, "removed": changes_made.removed}

    def ask(self, method: str, path: str, content: Any = None) -> Any:
        return PrefectClient(self.api_url).ask(method, path, content)

    def emit(self, event: str, resource: str, payload: dict[str, Any] | None = None) -> None:
        new_event = Event(event=event, resource={"prefect.resource.id": resource}, payload=payload or {})  # type: ignore[arg-type]
        self.ask("POST", "events", [new_event.model_dump(mode="json")])

    def block(self, batch_id: str) -> None:
        notification = Notification(
            f"batch-blocked:{batch_id}", "critical", f"{batch_id} is blocked", utc_now(), "all", "replay"
        )
        self.emit("moovitamix.batch.blocked", f"moovitamix.batch.{batch_id}", notification.payload())

    def create_ended_run(self, run_name: str, **state: str) -> None:
        """Create a run of ingest and set its final state."""
        flow = self.ask("POST", "flows/", {"name": "ingest"})["id"]
        run = self.ask("POST", "flow_runs/", {"flow_id": flow, "name": run_name, "state": {"type": "RUNNING"}})["id"]
        self.ask("POST", f"flow_runs/{run}/set_state", {"state": state, "force": True})

    def ingest(self, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
        return self.run("flows.ingest", "--day", DAY, *arguments, **settings)

    def run(self, *command: str, **settings: str) -> subprocess.CompletedProcess[str]:
        server_settings = {
            "PREFECT_API_URL": self.api_url,
            "PREFECT_HOME": str(self.home),
            "ALERT_URLS": self.mailbox.url,
        }
        return subprocess.run(
            [sys.executable, "-m", *command],
            cwd=ROOT,
            env=os.environ | server_settings | settings,
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )

    def mails(self, *expected: str) -> list[str]:
        """The subjects of all mails so far. Waits for the expected mails and for a marker that is sent last.

        The server can send mails in another order than their events.
        """
        marker = f"mark-{uuid4().hex[:8]}"
        self.block(marker)
        wait_until(lambda: Counter([f"{marker} is blocked", *expected]) <= Counter(self.mailbox.subjects))
        return [subject for subject in self.mailbox.subjects if not subject.startswith("mark-")]


def wait_until(condition: Callable[[], bool], seconds: float = 900) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "time limit reached"
        time.sleep(0.2)


@pytest.fixture(scope="module")
def server(prefect_database: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[NotifyingServer]:
    folder = tmp_path_factory.mktemp("site")
    for prefect_home in (folder / "prefect", folder / "prefect" / "alone"):
        prefect_home.mkdir()
        shutil.copy(prefect_database, prefect_home)
    server_port, mail_port = free_ports(2)
    mailbox = Mailbox(mail_port)
    home = {"PREFECT_HOME": str(folder / "prefect"), "PREFECT_SERVER_ANALYTICS_ENABLED": "false", "DO_NOT_TRACK": "1"}
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")} | home
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(server_port)]
    with (folder / "server.log").open("w") as log:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT)
    settings = Settings(_env_file=None, data_dir=folder, alert_urls=SecretStr(mailbox.url))  # type: ignore[call-arg]
    server = NotifyingServer(f"http://127.0.0.1:{server_port}/api", folder / "prefect", mailbox, settings)
    mailbox.open()
    try:
        wait_until(lambda: _responds(f"{server.api_url}/health"), seconds=600)
        server.apply()
        yield server
    finally:
        process.terminate()
        process.wait(timeout=120)
        mailbox.close()


@pytest.fixture(autouse=True)
def _empty_mailbox(server: NotifyingServer) -> None:
    server.mailbox.mails.clear()


def _responds(url: str) -> bool:
    try:
        return requests.get(url, timeout=60).ok
    except requests.RequestException:
        return False


def test_apply_is_idempotent_and_undoes_edits(server: NotifyingServer) -> None:
    assert server.apply() == {"made": [], "changed": [], "removed": []}
    automations = server.ask("POST", "automations/filter", {})
    [stored] = [automation for automation in automations if automation["name"] == "Notify: a run crashed"]
    assert TAG in stored["tags"]
    [definition] = expand_notifications(
        [
            automation
            for automation in read_automations(server.settings, server.api_url)
            if automation["name"] == stored["name"]
        ],
        [stored["actions"][0]["block_document_id"]],
    )
    server.ask("PUT", f"automations/{stored['id']}", definition | {"enabled": False})
    assert server.apply() == {"made": [], "changed": ["Notify: a run crashed"], "removed": []}


def test_apply_without_an_address_removes_only_notification_automations_of_the_project(server: NotifyingServer) -> None:
    trigger = {"type": "event", "posture": "Reactive", "expect": ["x"], "threshold": 1, "within": 0}
    foreign_automation = {"name": "Notify: foreign", "trigger": trigger, "actions": [{"type": "do-nothing"}]}
    foreign_id = server.ask("POST", "automations/", foreign_automation)["id"]
    changes = server.apply(alert_urls=SecretStr(""))
    own_names = set(re.findall(r'^  - name: "(Notify: .*)"$', (ROOT / "automations.yaml").read_text(), re.MULTILINE))
    assert len(own_names) > 5
    assert len(changes["removed"]) == len(own_names)
    names = {automation["name"] for automation in server.ask("POST", "automations/filter", {})}
    assert names == {"Notify: foreign"}
    assert server.ask("GET", "block_types/slug/slack-webhook/block_documents") == []

    two_addresses = SecretStr(f"{server.mailbox.url} json://user:{PASSWORD}@127.0.0.1:9/")
    assert len(server.apply(alert_urls=two_addresses)["made"]) == len(own_names)
    block_documents = server.ask("GET", "block_types/slug/slack-webhook/block_documents")
    assert [document["name"] for document in block_documents] == ["moovitamix-alerts-1", "moovitamix-alerts-2"]
    automations = requests.post(f"{server.api_url}/automations/filter", json={}, timeout=60).text
    blocks = requests.post(f"{server.api_url}/block_documents/filter", json={}, timeout=60).text
    assert PASSWORD not in automations + blocks

    assert len(server.apply()["changed"]) == len(own_names)
    server.ask("DELETE", f"automations/{foreign_id}")


def test_blocked_batch_sends_one_mail(server: NotifyingServer, api: MockApi, environment: Path) -> None:
    api.set_faults({"endpoint": "tracks", "bad_rows": {"id_null": 5}})
    result = server.ingest()
    assert result.returncode == 1
    assert server.mails() == [f"tracks-{DAY} is blocked"]
    body = server.mailbox.body(f"tracks-{DAY} is blocked")
    assert f"listen_history-{DAY} waits for it" in body
    assert f"python -m flows.replay tracks-{DAY}" in body
    assert "@" not in body
    runs = server.ask("POST", "flow_runs/filter", {"flow_runs": {"name": {"any_": [f"ingest-{DAY}"]}}})
    assert [(run["state"]["type"], run["state"]["name"]) for run in runs] == [("FAILED", "Blocked")]


def test_unreachable_source_sends_one_mail_with_the_reason(server: NotifyingServer, environment: Path) -> None:
    result = server.ingest("--endpoint", "tracks", MOOVITAMIX_API_URL="http://user:s3cret@127.0.0.1:9", FETCH_TRIES="1")
    assert result.returncode == 1
    assert server.mails() == [f"ingest-{DAY} failed"]
    body = server.mailbox.body(f"ingest-{DAY} failed")
    assert "connection refused" in body
    assert "s3cret" not in body
    assert "Next:   docs/operations.md#a-batch-failed" in body
    assert "Page:   http://127.0.0.1" in body


def test_usage_error_sends_no_mail(server: NotifyingServer, environment: Path) -> None:
    result = server.ingest("--day", "9999-12-31")
    assert (result.returncode, result.stderr) == (2, "error: 9999-12-31 is too far in the future for a batch\n")
    without_server = {"PREFECT_API_URL": "", "PREFECT_HOME": str(server.home / "alone")}
    for command in (["flows.replay", "tracks-2020-01-01"], ["flows.replay", "nonsense", "--accept", "known"]):
        result = server.run(*command, **without_server)
        assert result.returncode == 2, result.stderr
        assert result.stderr.count("\n") == 1, result.stderr
    assert server.mails() == []
    runs = server.ask("POST", "flow_runs/filter", {"flow_runs": {"name": {"any_": ["ingest-9999-12-31"]}}})
    assert [(run["state"]["type"], run["state"]["name"]) for run in runs] == [("FAILED", "Refused")]


def test_unreachable_database_sends_one_mail_for_all_runs(server: NotifyingServer, environment: Path) -> None:
    unreachable = "postgresql://user:s3cret@127.0.0.1:9/x"
    for _ in range(2):
        assert server.ingest("--endpoint", "tracks", DATABASE_URL=unreachable).returncode == 1
    assert server.mails() == ["the database does not answer"]
    body = server.mailbox.body("the database does not answer")
    assert "s3cret" not in body
    assert f"ingest-{DAY} could not continue: run it again." in body
    assert (environment / "alerts/open.json").exists()


def test_run_without_a_prefect_server_sends_the_mail_itself(server: NotifyingServer, environment: Path) -> None:
    settings = {
        "MOOVITAMIX_API_URL": "http://127.0.0.1:9",
        "FETCH_TRIES": "1",
        "PREFECT_HOME": str(server.home / "alone"),
    }
    result = server.ingest("--endpoint", "tracks", PREFECT_API_URL="", **settings)
    assert result.returncode == 1
    assert server.mailbox.subjects == [f"ingest-{DAY} failed"]


def test_mail_does_not_contain_the_message_of_an_exception(server: NotifyingServer) -> None:
    text = "duplicate key (email)=(ada@example.org)"
    server.create_ended_run(
        "ingest-defect", type="FAILED", name="Failed", message=f"Flow run encountered: ValueError: {text}"
    )
    server.create_ended_run("ingest-gone", type="CRASHED", name="Crashed", message=text)
    subjects = ["ingest-defect failed", "ingest-gone was interrupted"]
    assert sorted(server.mails(*subjects)) == subjects
    assert "ada@" not in server.mailbox.body("ingest-defect failed") + server.mailbox.body(
        "ingest-gone was interrupted"
    )


def test_repeated_drift_alarm_sends_one_mail_and_its_answer_another(server: NotifyingServer) -> None:
    raised = Notification("quality:7", "warning", "quality fell", utc_now(), "the list", "look").payload()
    for _ in range(3):
        server.emit("moovitamix.alarm.raised", "moovitamix.alarm.7", raised)
    server.emit("moovitamix.alarm.raised", "moovitamix.alarm.8", raised)
    server.emit("moovitamix.alarm.answered", "moovitamix.alarm.7", raised | {"subject": "answered"})
    assert sorted(server.mails("answered", "quality fell", "quality fell")) == [
        "answered",
        "quality fell",
        "quality fell",
    ]


def test_missing_publication_sends_one_mail(server: NotifyingServer) -> None:
    server.apply(alert_published_within_hours=12 / 3600)
    subject = "nothing was published in time"
    for _ in range(60):  # the server can apply a changed automation with a delay
        server.emit("moovitamix.warehouse.expected", "moovitamix.warehouse")
        if subject in server.mailbox.subjects:
            break
        time.sleep(1)
    server.apply()
    assert server.mails() == ["nothing was published in time"]
    assert "Since:  20" in server.mailbox.body("nothing was published in time")


def test_notifications_are_resent_after_the_mail_server_was_down(server: NotifyingServer, tmp_path: Path) -> None:
    store = IncidentStore(tmp_path, addresses(server.settings), send, utc_now)
    failed_notifications = FailedNotifications(server.settings, server.api_url)
    resend_failed_notifications(store, failed_notifications)
    server.mailbox.close()
    for number in range(60):  # more than one page of the server's responses
        server.block(f"tracks-{number}")
    count = 0

    def all_collected() -> bool:
        nonlocal count
        count += resend_failed_notifications(store, failed_notifications)
        return count == 60

    wait_until(all_collected)
    store.deliver()
    assert resend_failed_notifications(store, failed_notifications) == 0
    assert server.mailbox.subjects == []

    server.mailbox.open()
    with store.locked_state() as state:
        state.delivery_failures.clear()  # skip the waiting time
    store.deliver()
    assert sorted(server.mailbox.subjects) == sorted(f"tracks-{number} is blocked" for number in range(60))
    assert "Next:   replay" in server.mailbox.body("tracks-7 is blocked")


def test_test_notification_reports_each_address(
    server: NotifyingServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    monkeypatch.setenv("ALERT_URLS", server.mailbox.url)
    assert send_test_alert([]) == 0
    assert server.mailbox.subjects == ["a test: notifications reach you"]
    monkeypatch.setenv("ALERT_URLS", f"{server.mailbox.url},mailto://user:{PASSWORD}@127.0.0.1:9 nonsense://{PASSWORD}")
    assert send_test_alert([]) == 1
    out, err = capfd.readouterr()
    assert out.splitlines()[-3:] == [
        "address 1 (mailto): accepted",
        "address 2 (mailto): NOT accepted",
        "address 3 (nonsense): NOT accepted",
    ]
    assert PASSWORD not in out + err
    monkeypatch.setenv("ALERT_URLS", "")
    assert send_test_alert([]) == 1
