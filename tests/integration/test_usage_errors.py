"""Usage errors of all commands: exit code 2, one error line and no notification."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from core import migrate
from flows import erase, failures, ingest, maintain, monitor, recommend, replay, retrain, rollback
from notifications import send_test
from recommender import evaluate
from services import backup
from serving import keys
from serving.dashboard.__main__ import main as dashboard
from tests.conftest import Query

Main = Callable[[list[str]], int]
REQUESTED_BY = ["--requested-by", "ticket 7"]


@pytest.fixture(autouse=True)
def incidents(prefect_server: None, environment: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of notifications that cannot be delivered, for a command without a Prefect server."""
    monkeypatch.setenv("ALERT_URLS", "json://127.0.0.1:9")
    monkeypatch.setattr(failures, "has_server", lambda: False)
    return environment / "alerts"


@pytest.mark.parametrize(
    ("main", "arguments", "message"),
    [
        (ingest.main, ["--day", "9999-12-31"], "too far in the future"),
        (replay.main, ["nonsense"], "is no batch id"),
        (replay.main, ["tracks-2026-02-30"], "is no batch id"),
        (replay.main, ["tracks-2020-01-01"], "is not in ops.batches"),
        (replay.main, ["tracks-2020-01-01", "--accept", "known defect"], "--by must not be empty"),
        (replay.main, ["tracks-2020-01-01", "--by", "ticket 4711"], "--accept must not be empty"),
        (rollback.main, ["99"], "there is no publication 99"),
        (rollback.main, [], "there is nothing to roll back to"),
        (erase.main, ["7", "--reason", "request"], "--requested-by must not be empty"),
        (erase.main, ["7", "--reason", "of ada@example.org", *REQUESTED_BY], "must not contain an e-mail address"),
        (erase.main, [str(2**63), "--reason", "request", *REQUESTED_BY], "USER_ID must be a whole number"),
        (retrain.main, ["--as-of", "2999-01-01"], "lies in the future"),
        (keys.main, ["revoke", "000000000000"], "there is no key 000000000000"),
        (backup.main, ["restore", "none.tar"], "does not exist"),
        (evaluate.main, ["--train", "none.csv", "--test", "none.csv"], "none.csv: cannot be read"),
        (dashboard, ["--output", "nowhere/health.html"], "cannot be written"),
    ],
)
def test_usage_error_gives_one_line_exit_2_and_no_notification(
    main: Main, arguments: list[str], message: str, incidents: Path, capfd: pytest.CaptureFixture[str], query: Query
) -> None:
    assert main(arguments) == 2
    output = capfd.readouterr()
    assert output.err.startswith("error: "), output.err
    assert output.err.count("\n") == 1, output.err
    assert message in output.err
    assert "ada@" not in output.err
    assert not incidents.exists() or list(incidents.glob("outbox.json")) == []
    assert query("select count(*) from ops.runs where outcome = 'failed'") == [(0,)]


@pytest.mark.parametrize(
    ("main", "arguments"),
    [
        (ingest.main, ["--day", "soon"]),
        (ingest.main, ["--endpoint", "trakcs"]),
        (replay.main, []),
        (erase.main, []),
        (maintain.main, ["--retention-days", "0"]),
        (retrain.main, ["--seed", "-1"]),
        (retrain.main, ["--as-of", "soon"]),
        (rollback.main, ["0"]),
        (monitor.main, ["7"]),
        (recommend.main, ["7"]),
        (migrate.main, ["7"]),
        (send_test.main, ["7"]),
        (keys.main, ["create", "--name", "x", "--scope", "everything"]),
        (backup.main, ["restore"]),
        (evaluate.main, ["--k", "0"]),
        (dashboard, []),
    ],
)
def test_invalid_arguments_print_the_usage(
    main: Main, arguments: list[str], incidents: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_info:
        main(arguments)
    assert exit_info.value.code == 2
    assert capfd.readouterr().err.startswith("usage: ")
    assert not incidents.exists()


def test_wrong_setting_exits_with_2_and_failure_with_1_and_a_notification(
    incidents: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert recommend.main([]) == 1
    assert capfd.readouterr().err.splitlines()[-1].startswith("error: there are no plays")
    assert len(json.loads((incidents / "outbox.json").read_text())["messages"]) == 1
    monkeypatch.setenv("PAGE_SIZE", "0")
    for main in (ingest.main, recommend.main, migrate.main, send_test.main):
        assert main([]) == 2
        assert capfd.readouterr().err.startswith("error: wrong setting: PAGE_SIZE")
