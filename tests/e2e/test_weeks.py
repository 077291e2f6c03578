"""`python -m demo.weeks` with a real Prefect server, worker, Postgres and serving API.

Nothing special happens at first. Then there is an outage, and later half of the users change taste.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from demo.weeks import OUTAGE, SHIFT

ROOT = Path(__file__).parent.parent.parent

# All tests read one run of three minutes. The limit stops a hang, even on a machine that is ten times slower.
pytestmark = pytest.mark.timeout(1800)


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    # Postgres's user cannot enter pytest's own temporary folder.
    with TemporaryDirectory(prefix="moovitamix-weeks-", ignore_cleanup_errors=True) as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture(scope="module")
def weeks(folder: Path) -> dict[str, Any]:
    """The report of a successful run."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    result = subprocess.run(
        [sys.executable, "-m", "demo.weeks", "--report", str(folder / "report.json")],
        cwd=ROOT,
        env=environment | {"DATA_DIR": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout[-4000:] + result.stderr[-2000:]
    report: dict[str, Any] = json.loads((folder / "report.json").read_text())
    return report


def test_no_alarm_before_the_taste_shift(weeks: dict[str, Any]) -> None:
    days_before_outage = [day for day in weeks["days"] if day["day"] < str(OUTAGE)]
    assert len(days_before_outage) == (OUTAGE - timedelta(days=1)).day
    assert {day["verdict"] for day in weeks["days"] if day["day"] < str(SHIFT)} == {
        "warming-up",
        "not-judged",
        "steady",
    }
    first_cause, *later_causes = [cause for _, cause, _ in weeks["trainings"]]
    assert first_cause == "asked"
    assert set(later_causes) == {"degradation"}


def test_outage_is_blocked_without_an_alarm(weeks: dict[str, Any]) -> None:
    assert weeks["blocked"] == [str(OUTAGE + timedelta(days=1))]
    assert [day["day"] for day in weeks["days"] if day["verdict"] == "not-judged"] == [str(OUTAGE)]
    assert all(day["day"] > str(OUTAGE) for day in weeks["alarms"])


def test_taste_shift_gives_an_alarm_whose_training_is_published(weeks: dict[str, Any]) -> None:
    """The first training may keep the champion: a day after the shift no model can know the new tastes."""
    first_alarm, *later_alarms = weeks["alarms"]
    assert len(later_alarms) <= 1
    assert [alarm["answer"] for alarm in weeks["alarms"]] == ["kept"] * len(later_alarms) + ["published"]
    assert {alarm["metric"] for alarm in weeks["alarms"]} == {"ndcg@20"}
    assert str(SHIFT) <= first_alarm["day"] <= str(SHIFT + timedelta(days=4))
    causes = [cause for _, cause, _ in weeks["trainings"]]
    assert causes.count("degradation") == len(weeks["alarms"])  # although the monitor repeats each event
    completed = [run["parameters"]["degradation"] for run in weeks["runs"] if run["state_type"] == "COMPLETED"]
    assert {degradation["metric"] for degradation in completed} == {"ndcg@20"}
    for alarm in weeks["alarms"]:
        assert any(degradation["baseline"] == pytest.approx(alarm["baseline"]) for degradation in completed)


def test_quality_recovers_after_the_training(weeks: dict[str, Any]) -> None:
    worst = min(day["ndcg"] for day in weeks["days"] if day["ndcg"] is not None)
    assert worst < 0.6 * weeks["usual"]
    assert weeks["now"] >= 0.9 * weeks["usual"]


def test_feedback_shows_the_same_drop(weeks: dict[str, Any]) -> None:
    before = [day["useful"] for day in weeks["days"] if day["day"] < str(SHIFT) and day["useful"] is not None]
    after_shift = [day["useful"] for day in weeks["days"] if day["day"] == str(SHIFT + timedelta(days=1))]
    assert len(before) > 10
    assert after_shift[0] < 0.8 * sum(before) / len(before)
    assert weeks["days"][-1]["useful"] > after_shift[0]


def test_plot_is_written(weeks: dict[str, Any], folder: Path) -> None:
    plot = (folder / "weeks" / "quality.png").read_bytes()
    assert plot.startswith(b"\x89PNG")
    assert len(plot) > 20_000
