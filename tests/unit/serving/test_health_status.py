"""The rules of the health status."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, get_args

import pytest

import serving.dashboard.health_status as rules
from core.settings import Settings
from notifications.incidents import IncidentStore
from notifications.notification import Notification
from serving.dashboard.health_status import evaluate_health, health_without_database, nights_missed
from serving.dashboard.incidents import OpenIncident, OpenIncidents, read_incidents
from serving.dashboard.links import anchor
from serving.dashboard.page_data import LastRun, NewestPublication, PageData, PausedExperiment, UnfinishedRun, last_days
from tests.conftest import ROOT
from tests.unit.serving.healthy_page_data import NIGHT, NOW, TODAY, alarm, endpoint, healthy

NO_INCIDENTS = OpenIncidents()
OTHER_ENDPOINTS = [endpoint("users"), endpoint("listen_history")]
LONG_AGO = TODAY - timedelta(days=3)


def incident(severity: Any) -> OpenIncidents:
    return OpenIncidents([OpenIncident(key="k", summary="w", since=NOW, severity=severity)])


def test_healthy_data_is_healthy() -> None:
    assert evaluate_health(healthy(), NO_INCIDENTS, NOW) == rules.HealthStatus("healthy", [])


@pytest.mark.parametrize(
    ("changes", "state", "text"),
    [
        (
            {"endpoints": [endpoint("tracks", status="blocked"), *OTHER_ENDPOINTS]},
            "attention",
            "tracks-2026-11-22 is blocked",
        ),
        (
            {"endpoints": [endpoint("tracks", LONG_AGO, "failed"), *OTHER_ENDPOINTS]},
            "broken",
            "tracks is published up to 2026-11-19",
        ),
        (
            {"endpoints": [endpoint("tracks", None, "blocked"), *OTHER_ENDPOINTS]},
            "attention",
            "no earlier batch was published",
        ),
        ({"endpoints": OTHER_ENDPOINTS}, "attention", "No batch of tracks was ingested yet"),
        (
            {"endpoints": [endpoint("tracks", TODAY - timedelta(days=1)), *OTHER_ENDPOINTS]},
            "attention",
            "1 night missed",
        ),
        (
            {"endpoints": [endpoint("tracks", LONG_AGO), *OTHER_ENDPOINTS]},
            "broken",
            "tracks: nothing was published after 2026-11-19",
        ),
        ({"last_runs": [LastRun(9, "retrain", None, NIGHT, NIGHT, "failed")]}, "attention", "The last run of retrain"),
        ({"unfinished_runs": [UnfinishedRun(9, "retrain", None, NIGHT, False)]}, "attention", "never finished"),
        (
            {"newest_publication": [NewestPublication(2, "blocked", NIGHT, "r")]},
            "attention",
            "publication 2) are blocked",
        ),
        ({"live_publications": []}, "attention", "No recommendations are published"),
        (
            {"paused_experiments": [PausedExperiment(3, "the model file model-2.npz is missing")]},
            "attention",
            "Experiment 3 is paused, and all users get the control: the model file model-2.npz is missing",
        ),
        ({"alarms": [alarm()]}, "attention", "ndcg@20 was 0.080 on 2026-11-21; the baseline is 0.180"),
    ],
)
def test_each_problem_is_a_reason(changes: dict[str, Any], state: str, text: str) -> None:
    health_status = evaluate_health(healthy(**changes), NO_INCIDENTS, NOW)
    assert health_status.state == state
    assert any(text in reason.text and reason.state == state for reason in health_status.reasons), health_status


@pytest.mark.parametrize(
    "changes",
    [
        {"alarms": [alarm("kept")]},
        {"unfinished_runs": [UnfinishedRun(9, "ingest", TODAY, NIGHT, True)]},
        {"unfinished_runs": [UnfinishedRun(0, "ingest", TODAY, NIGHT, False)]},  # a later run succeeded
    ],
)
def test_answered_alarms_and_running_runs_are_healthy(changes: dict[str, Any]) -> None:
    assert evaluate_health(healthy(**changes), NO_INCIDENTS, NOW).state == "healthy"


@pytest.mark.parametrize("flow", ["ingest", "replay"])
def test_failed_run_is_no_reason_once_its_day_is_published(flow: str) -> None:
    """A replay that a person accepted, or another run, has published what the run did not."""
    failed = LastRun(9, flow, TODAY, NIGHT, NIGHT, "failed")
    assert evaluate_health(healthy(last_runs=[failed]), NO_INCIDENTS, NOW).state == "healthy"
    day_before = TODAY - timedelta(days=1)
    unpublished = [endpoint("tracks", day_before, "blocked"), *OTHER_ENDPOINTS]
    texts = [
        reason.text
        for reason in evaluate_health(healthy(last_runs=[failed], endpoints=unpublished), NO_INCIDENTS, NOW).reasons
    ]
    assert any(f"The last run of {flow} failed" in text for text in texts)


def five_days_later(status: str) -> tuple[PageData, datetime]:
    """Six ingested nights with this status. Recommendations and evaluations are from the first."""
    later = NOW + timedelta(days=5)
    nights = [TODAY + timedelta(days=number) for number in range(6)]
    first = healthy().batches[0]
    batches = [
        replace(first, endpoint=name, day=day, status=status if day > TODAY else "published")
        for name in rules.ENDPOINTS
        for day in nights
    ]
    endpoints = [endpoint(name, later.date(), status) for name in rules.ENDPOINTS]
    return healthy(endpoints=endpoints, batches=batches), later


def test_outdated_recommendations_and_unevaluated_days_are_reasons() -> None:
    data, later = five_days_later("published")
    texts = [reason.text for reason in evaluate_health(data, NO_INCIDENTS, later).reasons]
    assert any("were not refreshed since" in text for text in texts)
    assert any("Quality was not evaluated after 2026-11-21" in text for text in texts)


def test_unchanged_data_needs_no_new_recommendations() -> None:
    data, later = five_days_later("unchanged")
    assert evaluate_health(data, NO_INCIDENTS, later).reasons == []


def test_published_day_in_the_future_is_a_reason() -> None:
    data = healthy(endpoints=[endpoint("tracks", date(2027, 11, 22)), *OTHER_ENDPOINTS])
    health_status = evaluate_health(data, NO_INCIDENTS, NOW)
    assert health_status.state == "attention"
    assert "tracks is published for 2027-11-22, a day in the future" in health_status.reasons[0].text
    already_in_paris = datetime(2026, 11, 22, 23, 30, tzinfo=UTC)
    tomorrow = [endpoint(name, date(2026, 11, 23)) for name in rules.ENDPOINTS]
    assert evaluate_health(healthy(endpoints=tomorrow), NO_INCIDENTS, already_in_paris).state == "healthy"


def test_publication_with_a_future_time_is_a_reason() -> None:
    live = [replace(healthy().live_publications[0], live_from=NOW + timedelta(days=190))]
    health_status = evaluate_health(healthy(live_publications=live), NO_INCIDENTS, NOW)
    assert health_status.state == "attention"
    assert "Run .venv/bin/python -m flows.recommend" in health_status.reasons[0].text


def test_reason_before_the_first_ingest_names_the_command() -> None:
    health_status = evaluate_health(PageData(last_days(NOW), "ndcg@20"), NO_INCIDENTS, NOW)
    assert (health_status.state, len(health_status.reasons)) == ("attention", 1)
    assert "Run .venv/bin/python -m flows.ingest" in health_status.reasons[0].text


def test_incidents_are_reasons_and_the_worst_comes_first() -> None:
    assert evaluate_health(healthy(), incident("critical"), NOW).state == "broken"
    assert evaluate_health(healthy(), incident("warning"), NOW).state == "attention"
    assert evaluate_health(healthy(), OpenIncidents(unreadable="no right"), NOW).state == "attention"
    health_status = evaluate_health(healthy(alarms=[alarm()]), incident("critical"), NOW)
    assert [reason.state for reason in health_status.reasons] == ["broken", "attention"]
    for statement_refused in (False, True):
        assert health_without_database(incident("warning"), statement_refused=statement_refused).state == "broken"


@pytest.mark.parametrize(
    ("now", "missed"),
    [
        (datetime(2026, 11, 23, 5, 59, tzinfo=UTC), 0),  # 06:59 in Paris, in winter
        (datetime(2026, 11, 23, 6, 0, tzinfo=UTC), 1),
        (datetime(2026, 11, 22, 23, 30, tzinfo=UTC), 0),  # the 23rd in Paris
        (datetime(2026, 11, 25, 6, 0, tzinfo=UTC), 3),
        (datetime(2026, 11, 20, 6, 0, tzinfo=UTC), 0),
    ],
)
def test_night_is_missed_after_27_hours(now: datetime, missed: int) -> None:
    assert nights_missed(date(2026, 11, 22), now) == missed


@pytest.mark.parametrize(
    ("hours", "now", "missed"),
    [
        (30, datetime(2026, 11, 23, 8, 59, tzinfo=UTC), 0),  # 09:59 in Paris
        (30, datetime(2026, 11, 23, 9, 0, tzinfo=UTC), 1),
        (171, datetime(2026, 11, 29, 5, 59, tzinfo=UTC), 0),  # a week and three hours
        (171, datetime(2026, 11, 29, 6, 0, tzinfo=UTC), 1),
        (171, datetime(2026, 12, 6, 6, 0, tzinfo=UTC), 2),
        (6, datetime(2026, 11, 22, 20, 0, tzinfo=UTC), 0),
    ],
)
def test_night_is_missed_when_the_watchdog_notifies(hours: float, now: datetime, missed: int) -> None:
    assert nights_missed(date(2026, 11, 22), now, hours) == missed
    late = any(
        "was published after" in reason.text for reason in evaluate_health(healthy(), NO_INCIDENTS, now, hours).reasons
    )
    assert late == (missed > 0)


def test_missed_night_is_an_hour_earlier_in_summer() -> None:
    assert nights_missed(date(2026, 7, 1), datetime(2026, 7, 2, 5, 0, tzinfo=UTC)) == 1


def test_each_linked_section_exists_in_the_runbook() -> None:
    headings = re.findall(r"^## (.*)$", (ROOT / "docs/operations.md").read_text(), re.M)
    assert set(get_args(rules.Section)) <= set(headings)
    assert anchor("A run was killed, or the database stopped") == "a-run-was-killed-or-the-database-stopped"


def test_incidents_of_the_watchdog_are_read(tmp_path: Path) -> None:
    store = IncidentStore(tmp_path, [], lambda *_: False, lambda: NOW)
    store.open_incident(
        Notification(key="k", severity="critical", summary="w", since=NIGHT, unaffected="all", next="n", detail="d")
    )
    incident = OpenIncident(key="k", summary="w: d", since=NIGHT, unaffected="all", next_step="n", severity="critical")
    assert read_incidents(settings(tmp_path), NOW) == OpenIncidents([incident], watchdog_expected=False)


def settings(data_dir: Path, **values: Any) -> Settings:
    return Settings(_env_file=None, data_dir=data_dir, **values)


def test_stopped_watchdog_is_a_reason(tmp_path: Path) -> None:
    last_check = tmp_path / "alerts" / "looked"
    last_check.parent.mkdir()
    last_check.touch()
    os.utime(last_check, (NOW.timestamp(), NOW.timestamp()))
    in_time, late = NOW + timedelta(seconds=105), NOW + timedelta(seconds=106)
    assert evaluate_health(healthy(), read_incidents(settings(tmp_path), in_time), NOW).state == "healthy"
    assert not read_incidents(settings(tmp_path, alert_look_seconds=60), late).watchdog_problem
    (last_check.parent / "open.json").write_text("[]")
    health_status = evaluate_health(healthy(), read_incidents(settings(tmp_path), late), NOW)
    assert health_status.state == "attention"
    assert "has not run since 2026-11-22 12:00 UTC" in health_status.reasons[0].text
    before = NOW - timedelta(days=190)  # the clock was ahead before
    assert "while the clock was ahead" in str(read_incidents(settings(tmp_path), before).watchdog_problem)


@pytest.mark.parametrize("sign", ["services", "alert_urls", "prefect_ui_url", ""])
def test_missing_watchdog_is_a_reason_where_one_is_expected(tmp_path: Path, sign: str) -> None:
    if sign == "services":
        (tmp_path / sign).mkdir()
    urls = {"alert_urls": "json://localhost", "prefect_ui_url": "http://localhost"}
    incidents = read_incidents(settings(tmp_path, **{name: value for name, value in urls.items() if name == sign}), NOW)
    assert bool(incidents.watchdog_problem) == bool(sign)
    assert evaluate_health(healthy(), incidents, NOW).state == ("attention" if sign else "healthy")
    assert incidents.watchdog_expected == bool(sign)


def test_incident_file_is_validated(tmp_path: Path) -> None:
    assert read_incidents(settings(tmp_path), NOW) == OpenIncidents(watchdog_expected=False)
    (tmp_path / "alerts").mkdir()
    file = tmp_path / "alerts" / "open.json"
    incident_json = (
        '{"key": "%s", "what": "w", "since": "2026-11-22T04:00:00+00:00", "severity": "%s", "delivered_at": null}'
    )
    file.write_text(f"[{incident_json % ('a', 'warning')}, {incident_json % ('b', 'critical')}]")
    assert [incident.key for incident in read_incidents(settings(tmp_path), NOW).incidents] == ["b", "a"]
    for wrong in ("", "{}", '[{"key": "secret"}]', "[" * 100_000, "x" * 2_000_000):
        file.write_text(wrong)
        incidents = read_incidents(settings(tmp_path), NOW)
        assert not incidents.incidents
        assert incidents.unreadable == "the file is not a list of incidents"
    file.unlink()
    file.mkdir()
    assert read_incidents(settings(tmp_path), NOW).unreadable == "Is a directory"
