"""Output and exit code of `run_command`, with a function in place of a flow."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.audits import ExpectationResult
from core.errors import MoovitamixError, SettingsError
from core.settings import Settings
from flows.command_line import run_command
from flows.json_results import to_json
from flows.run import BatchResult, IngestIncomplete
from pipeline.batches import Batch, Counts

DAY = date(2026, 11, 22)
FAILED = ExpectationResult("max_rejected", None, "critical", False, 5, 0.1, "0.1", "too many rejected rows", ("7",))
BLOCKED = BatchResult(Batch("tracks", DAY, "http://x"), "blocked", Counts(rows_landed=9), "too many", (FAILED,))
PUBLISHED = BatchResult(Batch("users", DAY, "http://x"), "published", Counts(rows_landed=3))


@pytest.fixture(autouse=True)
def _settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATA_DIR", str(tmp_path))


def command(result: Any = None, error: BaseException | None = None) -> Callable[[], Any]:
    def call() -> Any:
        print("working")
        if error is not None:
            raise error
        return result

    return call


def document(capfd: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """Return the document on stdout; other output is on stderr."""
    printed = capfd.readouterr()
    assert "working" in printed.err
    loaded: dict[str, Any] = json.loads(printed.out)
    return loaded


def test_without_json_a_command_prints_lines(capfd: pytest.CaptureFixture[str]) -> None:
    assert run_command(command([PUBLISHED]), name="ingest") == 0
    assert capfd.readouterr().out == "working\n"


def test_json_of_a_run_holds_batches_with_counts_and_reasons(capfd: pytest.CaptureFixture[str]) -> None:
    error = IngestIncomplete([BLOCKED], [PUBLISHED, BLOCKED])
    assert run_command(command(error=error), name="ingest", as_json=True, result_name="batches") == 1
    shown = document(capfd)
    assert (shown["flow"], shown["succeeded"], shown["exit_code"]) == ("ingest", False, 1)
    assert shown["error"] == "error: tracks-2026-11-22 blocked: too many"
    published, blocked = shown["result"]["batches"]
    assert (published["batch_id"], published["status"], published["reason"]) == ("users-2026-11-22", "published", None)
    assert (blocked["status"], blocked["reason"], blocked["counts"]["rows_landed"]) == ("blocked", "too many", 9)
    assert [failed["description"] for failed in blocked["failed_expectations"]] == ["too many rejected rows"]
    assert "failing_keys" not in blocked["failed_expectations"][0]


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (SettingsError("PAGE_SIZE is wrong"), 2, "error: PAGE_SIZE is wrong"),
        (MoovitamixError("no room"), 1, "error: no room"),
        (KeyboardInterrupt(), 130, "stopped; run it again to go on"),
    ],
)
def test_json_of_a_command_that_fails_holds_its_error(
    error: BaseException, code: int, message: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run_command(command(error=error), name="replay", as_json=True, result_name="batches") == code
    expected = {"flow": "replay", "succeeded": False, "exit_code": code, "error": message, "result": None}
    assert document(capfd) == expected


def test_settings_are_checked_before_the_command_is_called(capfd: pytest.CaptureFixture[str]) -> None:
    def check(settings: Settings) -> None:
        raise SettingsError("the proxy is wrong")

    assert run_command(command(), name="ingest", check_settings=check) == 2
    assert capfd.readouterr() == ("", "error: the proxy is wrong\n")


def test_a_result_becomes_json() -> None:
    @dataclass
    class Figures:
        day: date
        value: float
        users: np.int64
        names: tuple[str, ...]

    figures = Figures(DAY, float("nan"), np.int64(3), ("a",))
    assert to_json({"days": [figures]}) == {"days": [{"day": "2026-11-22", "value": None, "users": 3, "names": ["a"]}]}
