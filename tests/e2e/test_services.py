"""The real services of `make up`: runs, killed processes, open ports, notifications, and a stop."""

from __future__ import annotations

import base64
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import psutil
import pytest
import requests
import zstandard

from services.deploy import run_smoke_test
from tests.conftest import all_rows
from tests.e2e.conftest import API_TOKEN, LOGIN, PROXY_PASSWORD, ROOT, Services
from tests.e2e.personal_data import Secrets, readable_files
from tests.integration.serving import browser

DAY = "2026-11-20"


def test_command_reports_to_the_running_server(services: Services) -> None:
    environment = {name: value for name, value in services.environment.items() if not name.startswith("PREFECT_")}
    environment["MOOVITAMIX_API_URL"] = services.local_services.api_url
    command = [sys.executable, "-m", "flows.ingest", "--day", "2026-11-18"]
    result = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=600
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert "next, because" not in result.stdout  # the next flow starts automatically
    (run,) = (run for run in services.ask("flow_runs/filter", {}) if run["name"] == "ingest-2026-11-18")
    assert (run["state_type"], run["tags"]) == ("COMPLETED", ["moovitamix"])
    tasks = services.ask("task_runs/filter", {"flow_runs": {"id": {"any_": [run["id"]]}}})
    assert {tuple(task["tags"]) for task in tasks} == {()}  # every tag of a task would need a concurrency slot
    assert services.published_sessions() > 0


def test_deployment_run_is_named_after_its_day(services: Services) -> None:
    assert services.run("ingest/daily", day=DAY) == 0
    assert services.flow_runs()[f"ingest-{DAY}"] == "COMPLETED"
    assert services.published_sessions() > 0
    docs = requests.get(f"{services.local_services.docs_url}/", timeout=60)
    assert DAY in docs.text


def test_monitor_and_recommend_start_automatically_after_an_ingest(services: Services) -> None:
    def both_completed() -> bool:
        runs = services.flow_runs()
        return runs.get("monitor") == runs.get("recommend") == "COMPLETED"

    assert _becomes_true(both_completed)
    # Each of the two ingests above may have started a pair, so the first of each kind is compared.
    runs = services.ask("flow_runs/filter", {})
    monitored = min(run["end_time"] for run in runs if run["name"] == "monitor" and run["end_time"])
    assert monitored <= min(run["start_time"] for run in runs if run["name"] == "recommend" and run["start_time"])


def test_serving_reports_its_health(services: Services) -> None:
    assert requests.get(f"{services.local_services.serving_url}/health/live", timeout=60).json() == {"live": True}
    assert requests.get(f"{services.local_services.serving_url}/health", timeout=60).json()["database"]


def test_blocked_day_ends_the_watching_command_with_exit_code_1(services: Services) -> None:
    faults = f"{services.local_services.api_url}/_control/faults"
    requests.put(faults, json=[{"endpoint": "tracks", "empty": True}], timeout=60).raise_for_status()
    try:
        assert services.run("ingest/daily", day="2026-11-21") == 1
    finally:
        requests.delete(faults, timeout=60).raise_for_status()
    # One cause gives one mail, which names the sessions that wait for the tracks.
    assert _becomes_true(lambda: "tracks-2026-11-21 is blocked" in services.mailbox.subjects), services.mailbox.subjects
    assert [subject for subject in services.mailbox.subjects if "2026-11-21" in subject] == [
        "tracks-2026-11-21 is blocked"
    ]
    assert "listen_history-2026-11-21" in services.mailbox.body("tracks-2026-11-21 is blocked")


def test_console_replays_a_batch_through_prefect(services: Services) -> None:
    """The run of the worker does the work: the console's own role cannot write what a replay writes."""
    url, batch_id = services.local_services.serving_url, "tracks-2026-11-21"
    with requests.Session() as person:
        key = _key(services, "console:read", "console:act")
        assert person.post(f"{url}/console/sign-in", data={"key": key}, timeout=60).status_code == 200
        form = {"target": batch_id, "reason": "its threshold is right", "confirmed": "yes", "form_id": "a form"}
        form["csrf_token"] = _csrf_token(person.get(f"{url}/console/actions/replay", timeout=60).text)

        def is_sent() -> bool:  # a busy server may not answer; the console then asks for the form again
            return "Its result is below" in person.post(f"{url}/console/actions/replay", data=form, timeout=60).text

        assert all(_becomes_true(is_sent) for _ in range(2))  # sent twice, started and recorded once
        runs = [run for run in services.ask("flow_runs/filter", {}) if "console" in run["tags"]]
        assert [run["parameters"] for run in runs] == [{"batch_id": batch_id}]
        actions = person.get(f"{url}/console/actions", timeout=60).text
        assert actions.count(f"/runs/flow-run/{runs[0]['id']}") == 1
        assert _becomes_true(lambda: services.flow_runs().get(f"replay-{batch_id}") == "FAILED")  # blocked again
        page = person.get(f"{url}/console/batches/{batch_id}", timeout=60).text
        ledger_runs = re.findall(r"/console/runs/(\d+)", page)
        assert len(ledger_runs) == 2  # the ingest and the replay
        opened = person.get(f"{url}/console/runs/{ledger_runs[0]}", timeout=60, allow_redirects=False)
        assert opened.headers["location"].endswith(f"/runs/flow-run/{runs[0]['id']}")


def test_prefect_requires_its_login(services: Services) -> None:
    for auth, status in ((None, 401), (("operator", "guessed"), 401), (tuple(LOGIN.split(":")), 200)):
        url = f"{services.local_services.prefect_url}/api/flow_runs/filter"
        assert requests.post(url, json={}, auth=auth, timeout=60).status_code == status  # type: ignore[arg-type]


@pytest.mark.skipif(browser.PROGRAM is None, reason="needs Chromium")
def test_pages_request_only_this_machine(services: Services) -> None:
    ui, key = services.local_services.prefect_url, _key(services)
    run, deployment, automation = (
        services.ask(f"{kind}/filter", {"limit": 1})[0]["id"] for kind in ("flow_runs", "deployments", "automations")
    )
    artifact = services.ask("artifacts/filter", {"limit": 1})[0]["id"]
    overview_pages = (
        "dashboard",
        "runs",
        "flows",
        "deployments",
        "work-pools",
        "blocks",
        "variables",
        "automations",
        "events",
    )
    detail_pages = (
        f"runs/flow-run/{run}",
        f"deployments/deployment/{deployment}",
        f"automations/automation/{automation}",
    )
    pages = [
        *overview_pages,
        *detail_pages,
        "concurrency-limits",
        "artifacts",
        f"artifacts/artifact/{artifact}",
        "settings",
    ]
    v2_pages = ["dashboard", detail_pages[0], "deployments", "artifacts", "settings"]
    folder = services.local_services.settings.data_dir / "data_docs"
    docs = [page.relative_to(folder) for page in sorted(folder.rglob("*.html"))]
    docs_urls = [f"{services.local_services.docs_url}/{page}" for page in ("", docs[-1])]
    with browser.browser() as tab:
        tab.open(f"{ui}/ui-settings")
        tab.evaluate(f"localStorage.setItem('prefect-password', btoa('{LOGIN}'))")
        tab.open(ui)
        tab.settle()
        assert "/v2/" not in tab.evaluate("location.href")  # the default UI is the older UI
        for page in [*pages, *(f"v2/{name}" for name in v2_pages)]:
            tab.open(f"{ui}/{page}")
            assert _becomes_true(partial(_is_shown, tab)), page
            assert (page, tab.hosts()) == (page, {"127.0.0.1"})
        # The content security policy stops requests of the v2 pages.
        assert _becomes_true(partial(_is_refused_by_policy, tab))
        tab.do("Network.setExtraHTTPHeaders", headers={"Authorization": f"Basic {_basic(key)}"})
        for url in (
            *docs_urls,
            f"{services.local_services.serving_url}/docs",
            f"{services.local_services.serving_url}/dashboard",
        ):
            tab.open(url)
            tab.settle()
            assert (url, tab.hosts()) == (url, {"127.0.0.1"})


def test_next_runs_are_scheduled(services: Services) -> None:
    def scheduled() -> bool:
        runs = services.ask("flow_runs/filter", {"flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}}})
        return {tag for run in runs for tag in run["tags"]} >= {"ingest", "maintenance"}

    assert _becomes_true(scheduled)


def test_second_up_changes_nothing(services: Services) -> None:
    states = services.states()
    second_up = services.make("up")
    assert second_up.returncode == 0
    assert services.states() == states
    addresses = re.findall(r"^\w[\w ]+ (http://\S+)", second_up.stdout, flags=re.M)
    assert len(addresses) == 5
    statuses = {url: requests.get(url, timeout=60).status_code for url in addresses}
    assert {url for url, status in statuses.items() if status == 401} == {
        f"{services.local_services.serving_url}/dashboard"
    }
    assert set(statuses.values()) == {200, 401}
    assert "  no_proxy='*' PREFECT_API_AUTH_STRING=" in second_up.stdout


def test_port_in_use_gives_one_error_line(services: Services, tmp_path: Path) -> None:
    environment = services.environment | {"DATA_DIR": str(tmp_path)}
    result = Services(environment, services.local_services, services.mailbox).make("up")
    assert result.returncode == 1
    assert result.stderr.count("\n") == 1
    assert (
        f"port {services.local_services.ports.mock_port}, for mock-api, cannot be used (Address already in use)"
        in result.stderr
    )


def test_clean_is_refused_while_services_run(services: Services) -> None:
    result = services.make("clean")
    assert (result.returncode, result.stderr.count("\n")) == (1, 1)
    assert services.published_sessions() > 0


def test_ports_listen_only_on_the_loopback_address(services: Services) -> None:
    sockets = [socket for process in services.processes() for socket in process.net_connections("inet")]
    listening = {(socket.laddr.ip, socket.laddr.port) for socket in sockets if socket.status == psutil.CONN_LISTEN}
    ports = {process.port for process in services.local_services.processes() if process.port}
    assert ports <= {port for _, port in listening}
    assert {address for address, _ in listening} == {"127.0.0.1"}


def test_personal_data_and_secrets_are_not_exposed(services: Services) -> None:
    kinds = ["email_shared", "field_wrong_type:first_name", "field_wrong_type:email", "id_huge", "id_text"]
    kinds += ["text_nul:last_name", "date_impossible", "text_long:last_name", "text_surrogate", "copy_newer"]
    faults = f"{services.local_services.api_url}/_control/faults"
    day = (datetime.now(UTC) - timedelta(days=2)).date().isoformat()  # the health page shows thirty days
    requests.put(faults, json=[{"bad_rows": dict.fromkeys(kinds, 3), "endpoint": "users"}], timeout=60)
    try:
        assert services.run("ingest/daily", day=day) == 1
    finally:
        requests.delete(faults, timeout=60).raise_for_status()
    users, tracks = (all_rows(services.local_services.api_url, endpoint) for endpoint in ("users", "tracks"))
    secrets = Secrets.from_rows(
        users, tracks, {"the token of the API": API_TOKEN, "Prefect's password": LOGIN, "the proxy's": PROXY_PASSWORD}
    )
    data_dir = services.local_services.settings.data_dir
    raw = next((data_dir / "landing" / "users").rglob("pages-*.zst"))
    with zstandard.open(raw) as pages:
        assert len(secrets.found_in(pages.read())) > 100

    page = requests.get(
        f"{services.local_services.serving_url}/dashboard", auth=("browser", _key(services)), timeout=10
    )
    assert day in page.text
    assert secrets.found_in(page.content) == set()
    assert [exposed for mail in services.mailbox.mails if (exposed := secrets.found_in(mail.as_bytes()))] == []
    exposed_in_file = {}
    for path in readable_files(data_dir):
        with suppress(FileNotFoundError):  # Prefect deletes lease files while they are listed
            exposed_in_file[str(path)] = secrets.found_in(path.read_bytes())
    assert len(exposed_in_file) > 30
    assert {path: exposed for path, exposed in exposed_in_file.items() if exposed} == {}


def test_killed_processes_restart_and_their_run_is_marked(services: Services) -> None:
    deployment = services.get("deployments/name/ingest/daily")["id"]
    run = services.ask(f"deployments/{deployment}/create_flow_run", {"parameters": {"day": "2026-11-18"}})["id"]
    assert _becomes_true(lambda: services.get(f"flow_runs/{run}")["state_type"] in ("PENDING", "RUNNING"))
    states = services.states()
    postmaster = int((services.local_services.settings.data_dir / "postgres/postmaster.pid").read_text().split()[0])
    for _, pid in states.values():
        os.kill(pid, signal.SIGKILL)
    os.kill(postmaster, signal.SIGKILL)
    for process in services.processes():
        with suppress(psutil.Error):
            if process.environ().get("PREFECT__FLOW_RUN_ID") == run:
                process.kill()

    def all_restarted() -> bool:
        current = services.states()
        return all(current[name][0] == "RUNNING" and current[name][1] != pid for name, (_, pid) in states.items())

    assert _becomes_true(all_restarted)
    assert services.make("up").returncode == 0  # waits until every service responds
    assert services.published_sessions() > 0
    assert _becomes_true(lambda: services.get(f"flow_runs/{run}")["state_type"] == "CRASHED"), services.get(
        f"flow_runs/{run}"
    )["state"]


def test_down_ends_all_processes_and_keeps_the_state(services: Services) -> None:
    rows = services.published_sessions()
    assert services.make("down").returncode == 0
    assert services.processes() == []
    assert not (services.local_services.settings.data_dir / "postgres/postmaster.pid").exists()
    assert services.make("status").returncode == 1
    assert services.make("up").returncode == 0
    assert services.flow_runs()[f"ingest-{DAY}"] == "COMPLETED"
    assert services.published_sessions() == rows


def test_deploy_fails_if_its_smoke_run_fails(services: Services) -> None:
    faults = f"{services.local_services.api_url}/_control/faults"
    requests.put(faults, json=[{"endpoint": "tracks", "empty": True}], timeout=60).raise_for_status()
    try:
        command = [sys.executable, "-m", "services.deploy", "--smoke"]
        deployment = subprocess.run(
            command, cwd=ROOT, env=services.environment, capture_output=True, text=True, check=False, timeout=600
        )
    finally:
        requests.delete(faults, timeout=60).raise_for_status()
    assert deployment.returncode == 1
    assert "error: the deployments are applied, but ingest/daily did not complete" in deployment.stderr

    run_smoke_test(services.environment["PREFECT_API_URL"], LOGIN)  # raises unless the run completes


def _key(services: Services, *scopes: str) -> str:
    options = [option for scope in scopes or ("dashboard:read",) for option in ("--scope", scope)]
    command = [sys.executable, "-m", "serving.keys", "create", "--name", "test", *options]
    result = subprocess.run(command, cwd=ROOT, env=services.environment, capture_output=True, text=True, check=True)
    return result.stdout.strip()


def _csrf_token(html: str) -> str:
    return html.partition('name="csrf_token" value="')[2].partition('"')[0]


def _is_refused_by_policy(tab: browser.Tab) -> bool:
    tab.settle()
    return any("Content Security Policy" in entry["entry"]["text"] for entry in tab.event_parameters("Log.entryAdded"))


def _is_shown(tab: browser.Tab) -> bool:
    """Whether a page of Prefect is displayed with data of the server."""
    tab.settle()
    urls = {event["request"]["url"] for event in tab.event_parameters("Network.requestWillBeSent")}
    return "Dashboard" in tab.evaluate("document.body.innerText") and any("/api/" in url for url in urls)


def _basic(key: str) -> str:
    return base64.b64encode(f"browser:{key}".encode()).decode()


def _becomes_true(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 600
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.5)
    return False
