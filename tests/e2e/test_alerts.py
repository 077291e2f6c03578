"""Alerts for real: a Prefect server, runs that fail, and a mail server that takes the mails, or is away."""

from __future__ import annotations

import os
import subprocess
import sys
import time
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

# Of the standard library, about what Apprise imports.
pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")

DAY = "2026-11-20"
PASSWORD = "pa55word-of-the-mail-server"


@dataclass
class Site:
    """A Prefect server with our automations, and the mailbox they write to."""

    api_url: str
    home: Path
    mailbox: Mailbox
    settings: Settings

    def apply_automations(self, **changes: Any) -> dict[str, list[str]]:
        done = apply_automations(self.settings.model_copy(update=changes), self.api_url)
        return {"made": done.made, "changed": done.changed, "removed": done.removed}

    def ask(self, method: str, path: str, content: Any = None) -> Any:
        return PrefectClient(self.api_url).ask(method, path, content)

    def emit(self, event: str, resource: str, payload: dict[str, Any] | None = None) -> None:
        told = Event(event=event, resource={"prefect.resource.id": resource}, payload=payload or {})  # type: ignore[arg-type]
        self.ask("POST", "events", [told.model_dump(mode="json")])

    def block(self, batch_id: str) -> None:
        alert = Notification(
            f"batch-blocked:{batch_id}", "critical", f"{batch_id} is blocked", utc_now(), "all", "replay"
        )
        self.emit("moovitamix.batch.blocked", f"moovitamix.batch.{batch_id}", alert.payload())

    def run_ended(self, run_name: str, **state: str) -> None:
        """A run of ingest that somebody else ended so."""
        flow = self.ask("POST", "flows/", {"name": "ingest"})["id"]
        run = self.ask("POST", "flow_runs/", {"flow_id": flow, "name": run_name, "state": {"type": "RUNNING"}})["id"]
        self.ask("POST", f"flow_runs/{run}/set_state", {"state": state, "force": True})

    def ingest(self, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
        return self.run("flows.ingest", "--day", DAY, *arguments, **settings)

    def run(self, *command: str, **settings: str) -> subprocess.CompletedProcess[str]:
        mine = {"PREFECT_API_URL": self.api_url, "PREFECT_HOME": str(self.home), "ALERT_URLS": self.mailbox.url}
        return subprocess.run(
            [sys.executable, "-m", *command],
            cwd=ROOT,
            env=os.environ | mine | settings,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    def mails(self, *awaited: str) -> list[str]:
        """Subjects of all that was told until now: what is told after it has come, and what is awaited, as the server
        may send one before the other."""
        last = f"mark-{uuid4().hex[:8]}"
        self.block(last)
        comes(lambda: {f"{last} is blocked", *awaited} <= set(self.mailbox.subjects))
        return [one for one in self.mailbox.subjects if not one.startswith("mark-")]


def comes(condition: Callable[[], bool], seconds: float = 240) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not come"
        time.sleep(0.2)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    server_port, mail_port = free_ports(2)
    mailbox = Mailbox(mail_port)
    home = {"PREFECT_HOME": str(folder / "prefect"), "PREFECT_SERVER_ANALYTICS_ENABLED": "false", "DO_NOT_TRACK": "1"}
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")} | home
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(server_port)]
    with (folder / "server.log").open("w") as log:
        server = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT)
    settings = Settings(_env_file=None, data_dir=folder, alert_urls=SecretStr(mailbox.url))  # type: ignore[call-arg]
    started = Site(f"http://127.0.0.1:{server_port}/api", folder / "prefect", mailbox, settings)
    mailbox.open()
    try:
        comes(lambda: _answers(f"{started.api_url}/health"), seconds=120)
        started.apply()
        yield started
    finally:
        server.terminate()
        server.wait(timeout=30)
        mailbox.close()


@pytest.fixture(autouse=True)
def _empty(site: Site) -> None:
    site.mailbox.mails.clear()


def _answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=5).ok
    except requests.RequestException:
        return False


def test_applying_again_changes_nothing_and_edits_are_undone(site: Site) -> None:
    assert site.apply() == {"made": [], "changed": [], "removed": []}
    ours = {one["name"]: one for one in site.ask("POST", "automations/filter", {}) if TAG in one["tags"]}
    there = ours["alert: a run crashed"]
    [sent] = expand_notifications(
        [one for one in read_automations(site.settings, site.api_url) if one["name"] == there["name"]],
        [there["actions"][0]["block_document_id"]],
    )
    site.ask("PUT", f"automations/{there['id']}", sent | {"enabled": False})
    assert site.apply() == {"made": [], "changed": ["alert: a run crashed"], "removed": []}


def test_only_ours_are_touched_and_without_an_address_none_that_only_notifies_stays(site: Site) -> None:
    trigger = {"type": "event", "posture": "Reactive", "expect": ["x"], "threshold": 1, "within": 0}
    theirs = {"name": "alert: theirs", "trigger": trigger, "actions": [{"type": "do-nothing"}]}
    made = site.ask("POST", "automations/", theirs)["id"]
    done = site.apply(alert_urls=SecretStr(""))
    assert len(done["removed"]) == 6
    left = {one["name"] for one in site.ask("POST", "automations/filter", {})}
    assert left == {"alert: theirs"}
    assert site.ask("GET", "block_types/slug/slack-webhook/block_documents") == []

    two = SecretStr(f"{site.mailbox.url} json://user:{PASSWORD}@127.0.0.1:9/")
    assert len(site.apply(alert_urls=two)["made"]) == 6
    names = [one["name"] for one in site.ask("GET", "block_types/slug/slack-webhook/block_documents")]
    assert names == ["moovitamix-alerts-1", "moovitamix-alerts-2"]
    everything = requests.post(f"{site.api_url}/automations/filter", json={}, timeout=10).text
    blocks = requests.post(f"{site.api_url}/block_documents/filter", json={}, timeout=10).text
    assert PASSWORD not in everything + blocks

    assert len(site.apply()["changed"]) == 6
    site.ask("DELETE", f"automations/{made}")


def test_a_blocked_batch_is_one_mail(site: Site, api: MockApi, environment: Path) -> None:
    api.set_faults({"endpoint": "tracks", "bad_rows": {"id_null": 5}})
    done = site.ingest()
    assert done.returncode == 1
    assert site.mails() == [f"tracks-{DAY} is blocked"]
    body = site.mailbox.body(f"tracks-{DAY} is blocked")
    assert f"listen_history-{DAY} waits for it" in body
    assert f"python -m flows.replay tracks-{DAY}" in body
    assert "@" not in body
    runs = site.ask("POST", "flow_runs/filter", {"flow_runs": {"name": {"any_": [f"ingest-{DAY}"]}}})
    assert [(run["state"]["type"], run["state"]["name"]) for run in runs] == [("FAILED", "Blocked")]


def test_a_source_that_is_down_is_one_mail_with_the_reason(site: Site, environment: Path) -> None:
    done = site.ingest("--endpoint", "tracks", MOOVITAMIX_API_URL="http://user:s3cret@127.0.0.1:9", FETCH_TRIES="1")
    assert done.returncode == 1
    assert site.mails() == [f"ingest-{DAY} failed"]
    body = site.mailbox.body(f"ingest-{DAY} failed")
    assert "connection refused" in body
    assert "s3cret" not in body
    assert "Next:   docs/operations.md#a-batch-failed" in body
    assert "Page:   http://127.0.0.1" in body


def test_what_a_person_typed_wrong_is_no_mail(site: Site, environment: Path) -> None:
    done = site.ingest("--day", "9999-12-31")
    assert (done.returncode, done.stderr) == (2, "error: 9999-12-31 is too far in the future for a batch\n")
    alone = {"PREFECT_API_URL": "", "PREFECT_HOME": str(site.home / "alone")}
    for command in (["flows.replay", "tracks-2020-01-01"], ["flows.replay", "nonsense", "--accept", "known"]):
        done = site.run(*command, **alone)
        assert done.returncode == 2, done.stderr
        assert done.stderr.count("\n") == 1, done.stderr
    assert site.mails() == []
    runs = site.ask("POST", "flow_runs/filter", {"flow_runs": {"name": {"any_": ["ingest-9999-12-31"]}}})
    assert [(run["state"]["type"], run["state"]["name"]) for run in runs] == [("FAILED", "Refused")]


def test_a_database_that_is_away_is_one_mail_however_many_runs_it_stops(site: Site, environment: Path) -> None:
    away = "postgresql://user:s3cret@127.0.0.1:9/x"
    for _ in range(2):
        assert site.ingest("--endpoint", "tracks", DATABASE_URL=away).returncode == 1
    assert site.mails() == ["the database does not answer"]
    body = site.mailbox.body("the database does not answer")
    assert "s3cret" not in body
    assert f"ingest-{DAY} could not continue: run it again." in body
    assert (environment / "alerts/open.json").exists()


def test_without_a_prefect_server_the_run_itself_sends(site: Site, environment: Path) -> None:
    mine = {"MOOVITAMIX_API_URL": "http://127.0.0.1:9", "FETCH_TRIES": "1", "PREFECT_HOME": str(site.home / "alone")}
    done = site.ingest("--endpoint", "tracks", PREFECT_API_URL="", **mine)
    assert done.returncode == 1
    assert site.mailbox.subjects == [f"ingest-{DAY} failed"]


def test_what_a_defect_says_is_not_in_the_mail(site: Site) -> None:
    text = "duplicate key (email)=(ada@example.org)"
    site.run_ended("ingest-defect", type="FAILED", name="Failed", message=f"Flow run encountered: ValueError: {text}")
    site.run_ended("ingest-gone", type="CRASHED", name="Crashed", message=text)
    told = ["ingest-defect failed", "ingest-gone was interrupted"]
    assert sorted(site.mails(*told)) == told
    assert "ada@" not in site.mailbox.body("ingest-defect failed") + site.mailbox.body("ingest-gone was interrupted")


def test_an_alarm_that_is_told_again_is_one_mail_and_its_answer_another(site: Site) -> None:
    raised = Notification("quality:7", "warning", "quality fell", utc_now(), "the list", "look").payload()
    for _ in range(3):
        site.emit("moovitamix.alarm.raised", "moovitamix.alarm.7", raised)
    site.emit("moovitamix.alarm.raised", "moovitamix.alarm.8", raised)
    site.emit("moovitamix.alarm.answered", "moovitamix.alarm.7", raised | {"subject": "answered"})
    assert sorted(site.mails("answered", "quality fell")) == ["answered", "quality fell", "quality fell"]


def test_nothing_published_by_the_set_hour_is_told_once(site: Site) -> None:
    site.apply(alert_published_within_hours=12 / 3600)
    told = "nothing was published in time"
    for _ in range(60):  # a server may take up a changed automation a moment after its answer
        site.emit("moovitamix.warehouse.expected", "moovitamix.warehouse")
        if told in site.mailbox.subjects:
            break
        time.sleep(1)
    site.apply()
    assert site.mails() == ["nothing was published in time"]
    assert "Since:  20" in site.mailbox.body("nothing was published in time")


def test_a_mail_server_that_is_down_loses_nothing(site: Site, tmp_path: Path) -> None:
    store = IncidentStore(tmp_path, addresses(site.settings), send, utc_now)
    missed = FailedNotifications(site.settings, site.api_url)
    resend_failed_notifications(store, missed)
    site.mailbox.close()
    for number in range(60):  # more than one answer of the server holds
        site.block(f"tracks-{number}")
    told = 0

    def all_missed() -> bool:
        nonlocal told
        told += resend_failed_notifications(store, missed)
        return told == 60

    comes(all_missed)
    store.deliver()
    assert resend_failed_notifications(store, missed) == 0
    assert site.mailbox.subjects == []

    site.mailbox.open()
    with store.locked_state() as state:
        state.delivery_failures.clear()  # as if the time to wait were over
    store.deliver()
    assert sorted(site.mailbox.subjects) == sorted(f"tracks-{number} is blocked" for number in range(60))
    assert "Next:   replay" in site.mailbox.body("tracks-7 is blocked")


def test_the_test_alert_says_which_address_works(
    site: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    monkeypatch.setenv("ALERT_URLS", site.mailbox.url)
    assert send_test_alert([]) == 0
    assert site.mailbox.subjects == ["a test: alerts reach you"]
    monkeypatch.setenv("ALERT_URLS", f"{site.mailbox.url},mailto://user:{PASSWORD}@127.0.0.1:9 nonsense://{PASSWORD}")
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
