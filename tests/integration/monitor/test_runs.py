"""The monitor flow: what it writes, emits and prints, and the training it starts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import get_client

from core.database import connect
from flows import events, monitor, retrain
from recommender.monitoring import quality_monitor
from tests.integration.monitor.quiet import QUIET_DAYS, days
from tests.integration.monitor.world import RULES, Connection, day, record_training
from tests.warehouse_data import fill_warehouse, two_taste_groups

pytestmark = pytest.mark.usefixtures("runs")
Capture = pytest.CaptureFixture[str]
Patch = pytest.MonkeyPatch


@pytest.fixture
def emitted(monkeypatch: Patch) -> list[tuple[str, dict[str, Any]]]:
    """The events that this process emits."""
    received: list[tuple[str, dict[str, Any]]] = []
    monkeypatch.setattr(events, "emit_event", lambda event, resource, payload: received.append((event, payload)))
    return received


def written(connection: Connection) -> list[Any]:
    rows = []
    for table in ("quality_metrics", "alarms", "decisions"):
        rows.append(connection.execute(f"select * from ml.{table} order by 1, 2").fetchall())
    return rows


def test_alarm_is_emitted_until_it_is_answered(
    copied: Connection, emitted: list[tuple[str, dict[str, Any]]], capsys: Capture
) -> None:
    days(copied, QUIET_DAYS, 2, hits=False)

    assert monitor.main([]) == 0

    (alarm,) = quality_monitor.open_alarms(copied)
    payload = {**vars(alarm), "day": str(day(7))}
    assert emitted == [(events.DEGRADED, payload)]
    output = capsys.readouterr().out
    assert output.count(": alarm: ") == 1
    assert output.splitlines()[-1].startswith("alarm 1 of 2024-04-08: ndcg@20 fell from ")
    before = written(copied)

    assert monitor.main([]) == 0  # the event is repeated in case the server missed it; no day is evaluated again

    assert emitted == [(events.DEGRADED, payload)] * 2
    assert written(copied) == before
    assert "no new day to evaluate" in capsys.readouterr().out

    record_training(copied, "kept")
    assert monitor.main([]) == 0
    assert len(emitted) == 2

    # A late event of an answered alarm starts no training.
    assert retrain.retrain(degradation=retrain.Degradation(**payload)) is None
    assert copied.execute("select count(*) from ml.model_runs").fetchall() == [(2,)]
    outcomes = copied.execute("select flow, outcome from ops.runs order by run_id").fetchall()
    assert outcomes == [
        ("monitor", "alarm"),
        ("monitor", "nothing new"),
        ("monitor", "nothing new"),
        ("retrain", "answered already"),
    ]


def test_jumping_clock_neither_repeats_nor_skips_a_day(copied: Connection, tmp_path: Path, monkeypatch: Patch) -> None:
    clock = tmp_path / "clock"
    monkeypatch.setenv("CLOCK_FILE", str(clock))
    for number, moment in enumerate(("2024-04-07T04:00", "2019-01-01T00:00", "2031-01-01T00:00", "2024-04-10T04:00")):
        clock.write_text(moment)
        assert monitor.main([]) == 0
        days(copied, QUIET_DAYS + number, 1)
    rows = copied.execute("select day, decided_at from ml.decisions order by decision_id").fetchall()
    assert [row[0] for row in rows] == [day(number) for number in range(9)]
    assert [f"{row[1]:%Y}" for row in rows[-4:]] == ["2024", "2031", "2031", "2024"]


def test_training_for_an_alarm_answers_it_and_records_the_cause(database: str, monkeypatch: Patch) -> None:
    fill_warehouse(database, two_taste_groups(users=80))
    monkeypatch.setenv("DATABASE_URL", database)
    assert retrain.main([]) == 0
    with connect(database) as connection:
        connection.execute(
            "insert into ml.alarms (metric, day, value, baseline, statistic, publication_id, raised_at)"
            " select metric, '2024-03-30', 0.1, 0.2, 7, 1, '2024-04-01'"
            " from unnest(array['ndcg@20', 'useful']) as metric"
        )
        first, second = quality_monitor.open_alarms(connection)

        trained = retrain.retrain(degradation=retrain.Degradation(**{**vars(first), "day": str(first.day)}))

        assert trained
        decision = trained.decision.decision
        answers = connection.execute("select answer, model_run_id, answered_after from ml.alarms").fetchall()
        assert answers == [(decision, trained.model_run_id, first.day)] * 2
        causes = connection.execute("select cause, decision from ml.model_runs order by model_run_id").fetchall()
        assert causes == [("asked", "published"), ("degradation", decision)]
        # The event of the other alarm starts a run that finds no open alarm.
        assert retrain.retrain(degradation=retrain.Degradation(**{**vars(second), "day": str(second.day)})) is None


def test_old_model_is_emitted_when_no_alarm_is_open(
    copied: Connection, emitted: list[tuple[str, dict[str, Any]]], monkeypatch: Patch
) -> None:
    monkeypatch.setenv("RETRAIN_MAX_AGE_DAYS", "6")
    assert monitor.main([]) == 0
    assert emitted == [(events.AGED, {"age_days": 6.5})]
    assert monitor.main([]) == 0
    assert len(emitted) == 1  # the next evaluated day emits it again
    days(copied, QUIET_DAYS, 2, hits=False)
    assert monitor.main([]) == 0
    assert [event for event, _ in emitted] == [events.AGED, events.DEGRADED]


def test_artifacts_and_decisions_contain_no_personal_data(copied: Connection, capsys: Capture) -> None:
    """User names and e-mails have known patterns; user ids are larger than any figure."""
    large = 777_000_777_000
    copied.execute("alter table warehouse.listen_history disable trigger all")
    for table, column in (
        ("warehouse.listen_history", "user_id"),
        ("mart.user_track_plays", "user_id"),
        ("ml.recommendations", "user_id"),
        ("warehouse.users", "id"),
    ):
        copied.execute(f"set session_replication_role = replica; update {table} set {column} = {column} + {large}")
    copied.execute("reset session_replication_role")
    assert monitor.main([]) == 0
    assert copied.execute("select count(*) from ml.quality_metrics where metric = 'ndcg@20'").fetchall() == [(6,)]

    with get_client(sync_client=True) as client:
        artifacts = [artifact.model_dump(mode="json") for artifact in client.read_artifacts()]
    decisions = copied.execute("select why, figures from ml.decisions").fetchall()
    text = json.dumps([artifacts, [list(row) for row in decisions]]) + capsys.readouterr().out
    assert {artifact["key"] for artifact in artifacts} >= {"monitor-quality", "monitor-decisions", "monitor-verdict"}
    assert "ndcg@20" in text
    assert [word for word in ("Firstname", "Lastname", "private.example", "777000777") if word in text] == []


def test_monitoring_settings_come_from_the_environment() -> None:
    assert monitor.monitoring_settings(monitor.load_settings()) == RULES


def test_unknown_argument_is_a_usage_error() -> None:
    with pytest.raises(SystemExit) as exit_:
        monitor.main(["--day", "2024-04-01"])
    assert exit_.value.code == 2
