"""Actions of the console: scope, confirmation, protection against forms of other sites, and the audit record."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from core.database import connect
from serving.console.action_pages import ACTIONS
from tests.conftest import ROOT
from tests.integration.serving.api import Api, free_port, serving
from tests.integration.serving.console_history import break_last_night, console_history
from tests.integration.serving.test_console import BLOCKED, browser_of, csrf_token_of
from tests.integration.serving.test_dashboard import INCIDENT, heading, text_of

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
FORM = {"target": BLOCKED, "reason": "the source repaired it", "confirmed": "yes"}


@pytest.fixture
def api(database: str, tmp_path: Path) -> Iterator[Api]:
    """The API after a broken night, with an open incident. Nothing listens at the address of Prefect."""
    (tmp_path / "clock").write_text(NOW.isoformat())
    (tmp_path / "alerts").mkdir()
    (tmp_path / "alerts" / "open.json").write_text(json.dumps([INCIDENT]))
    closed = {
        "key": "x",
        "what": "the disk was full",
        "since": "2026-11-20T04:00:00Z",
        "closed_at": "2026-11-20T05:00:00Z",
    }
    (tmp_path / "alerts" / "closed.json").write_text(json.dumps([closed]))
    with connect(database) as connection:
        console_history(connection, NOW, 3)
        break_last_night(connection, NOW)
    with serving(
        database,
        data_dir=tmp_path,
        clock_file=tmp_path / "clock",
        console_prefect_api_url=f"http://127.0.0.1:{free_port()}/api",
    ) as api:
        yield api


@pytest.fixture
def person(api: Api) -> Iterator[httpx.Client]:
    """A browser that may act."""
    with browser_of(api, api.key) as client:
        yield client


def send(client: httpx.Client, action: str, form: dict[str, str], **headers: str) -> httpx.Response:
    """Send the form of an action with the token of its page."""
    token = csrf_token_of(client.get(f"/console/actions/{action}").text)
    return client.post(f"/console/actions/{action}", data={"csrf_token": token} | form, headers=headers)


def read_actions(api: Api) -> list[tuple[Any, ...]]:
    with connect(api.database) as connection:
        return connection.execute(
            "select action, target, reason, key_id, requested_at, state, flow_run_id, detail"
            " from serving.console_actions order by action_id"
        ).fetchall()


def test_form_that_prefect_does_not_answer_may_be_sent_again(api: Api, person: httpx.Client) -> None:
    """The run may have started, so nothing says that it did not. The same form starts it once."""
    response = send(person, "replay", {**FORM, "form_id": "a form"})
    assert response.status_code == 503
    assert "Prefect does not answer; check that it runs (make status), and send the form again" in text_of(
        response.text
    )
    assert 'name="form_id" value="a form"' in response.text
    key_id = api.key.split("_")[1]
    assert read_actions(api) == [("replay", BLOCKED, FORM["reason"], key_id, NOW, "requested", None, None)]
    text = text_of(person.get("/console/actions").text)
    assert "Prefect has not answered" in text and FORM["reason"] in text


def test_form_that_is_sent_twice_leaves_one_action(api: Api, person: httpx.Client) -> None:
    snooze = {**FORM, "target": "k", "hours": "4", "form_id": "first"}
    answers = [send(person, "snooze", snooze) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [303, 303]
    assert answers[0].headers["location"] == answers[1].headers["location"]
    replay = {**FORM, "form_id": "second"}
    assert [send(person, "replay", replay).status_code for _ in range(2)] == [503, 503]
    assert [(row[0], row[5]) for row in read_actions(api)] == [("snooze", "done"), ("replay", "requested")]


def test_form_with_another_target_or_time_is_another_action(api: Api, person: httpx.Client) -> None:
    for changes in ({}, {"hours": "24"}, {"hours": "24", "form_id": "another"}, {"form_id": ""}, {"form_id": ""}):
        form = {**FORM, "target": "k", "hours": "4", "form_id": "first"} | changes
        assert send(person, "snooze", form).status_code == 303
    assert send(person, "rollback", {**FORM, "target": "1", "form_id": "first"}).status_code == 503
    assert send(person, "rollback", {**FORM, "target": "2", "form_id": "first"}).status_code == 503
    assert len(read_actions(api)) == 7


@pytest.mark.parametrize(
    ("action", "form", "problem"),
    [
        ("replay", {**FORM, "confirmed": ""}, "Confirm that you have read what happens"),
        ("replay", {**FORM, "reason": " "}, "The reason must not be empty"),
        ("replay", {**FORM, "reason": "ask ada@example.org"}, "must not contain an e-mail address"),
        ("replay", {**FORM, "target": ""}, "Batch must not be empty"),
        ("replay", {**FORM, "target": "tracks-2020-01-01"}, "No batch has this id"),
        ("replay", {**FORM, "target": "tracks-2026-11-22"}, "is published already"),
        ("accept", FORM, "Who accepts it must not be empty"),
        ("rollback", {**FORM, "target": "last one"}, "no id of a publication"),
        ("snooze", {**FORM, "target": "nothing", "hours": "4"}, "not open any more"),
        ("snooze", {**FORM, "target": "k", "hours": "9999"}, "how long"),
    ],
)
def test_wrong_form_starts_nothing(
    api: Api, person: httpx.Client, action: str, form: dict[str, str], problem: str
) -> None:
    response = send(person, action, form)
    assert response.status_code == 422
    assert problem in text_of(response.text)
    assert read_actions(api) == []


def test_form_of_another_site_or_session_starts_nothing(api: Api, person: httpx.Client) -> None:
    path = "/console/actions/replay"
    assert send(person, "replay", FORM, **{"Sec-Fetch-Site": "cross-site"}).status_code == 403
    assert send(person, "replay", FORM, **{"Sec-Fetch-Site": "same-site"}).status_code == 403
    assert person.post(path, data=FORM).status_code == 403
    with browser_of(api, api.key) as other_session:
        token = csrf_token_of(other_session.get(path).text)
    assert person.post(path, data={"csrf_token": token, **FORM}).status_code == 403
    with browser_of(api) as signed_out:
        assert signed_out.post(path, data={"csrf_token": token, **FORM}).status_code == 303  # to the sign-in
    assert read_actions(api) == []


def test_key_that_may_only_read_starts_nothing(api: Api) -> None:
    with browser_of(api, api.new_key("console:read").text) as client:
        assert "You may only read" in text_of(client.get("/console/actions/replay").text)
        token = csrf_token_of(client.get("/console/actions").text)
        response = client.post("/console/actions/replay", data={"csrf_token": token, **FORM})
        assert response.status_code == 403
        assert "/console/actions/replay" not in client.get(f"/console/batches/{BLOCKED}").text
    assert read_actions(api) == []


def test_snoozed_incident_does_not_count_until_the_time_is_over(api: Api, person: httpx.Client) -> None:
    html = person.get("/console").text
    assert heading(html) == "Broken"  # because of the incident
    assert "the disk was full" in text_of(html)
    assert "/console/actions/snooze?target=k" in html
    assert send(person, "snooze", {**FORM, "target": "k", "hours": "4"}).status_code == 303
    person.get("/console/models")  # the page of the health status is cached for half a second
    deadline = datetime.now(UTC) + timedelta(seconds=60)
    while heading(html := person.get("/console").text) != "Needs attention":
        assert datetime.now(UTC) < deadline
    assert "Snoozed until 2026-11-22 16:00 UTC: the source repaired it" in text_of(html)
    assert api.clock_file is not None
    api.clock_file.write_text((NOW + timedelta(hours=4)).isoformat())
    while heading(person.get("/console").text) != "Broken":
        assert datetime.now(UTC) < deadline


def test_process_without_prefect_starts_no_run(database: str, tmp_path: Path) -> None:
    with serving(database, data_dir=tmp_path) as api, browser_of(api, api.key) as client:
        response = send(client, "retrain", {"reason": "weekly", "confirmed": "yes"})
        assert response.status_code == 503
        assert "CONSOLE_PREFECT_API_URL is not set" in text_of(response.text)
        assert read_actions(api) == []


def test_every_deployment_of_an_action_exists() -> None:
    deployments = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
    names = {f"{deployment['entrypoint'].rpartition(':')[2]}/{deployment['name']}" for deployment in deployments}
    assert {action.deployment for action in ACTIONS.values()} - {None} <= names
