"""Weeks of listening with a real Prefect server, worker, Postgres and serving API: what `python -m demo.weeks` shows.

The first two weeks are quiet, then an outage, then half of the listeners change taste.
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

# All tests read one run of three minutes. The limit stops a hang, also on a machine that is ten times as busy.
pytestmark = pytest.mark.timeout(1800)


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    # Not below pytest's own temporary folder: Postgres does not run as root, and that is closed to others.
    with TemporaryDirectory(prefix="moovitamix-weeks-", ignore_cleanup_errors=True) as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture(scope="module")
def weeks(folder: Path) -> dict[str, Any]:
    """What was seen, by a run that ended as it must."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    done = subprocess.run(
        [sys.executable, "-m", "demo.weeks", "--report", str(folder / "report.json")],
        cwd=ROOT,
        env=environment | {"DATA_DIR": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    report: dict[str, Any] = json.loads((folder / "report.json").read_text())
    return report


def test_nothing_happens_while_nothing_changes(weeks: dict[str, Any]) -> None:
    quiet = [day for day in weeks["days"] if day["day"] < str(OUTAGE)]
    assert len(quiet) == (OUTAGE - timedelta(days=1)).day
    assert {day["verdict"] for day in weeks["days"] if day["day"] < str(SHIFT)} == {
        "warming-up",
        "not-judged",
        "steady",
    }
    assert [cause for _, cause, _ in weeks["trainings"]] == ["asked", "degradation"]


def test_an_outage_is_blocked_and_retrains_nothing(weeks: dict[str, Any]) -> None:
    assert weeks["blocked"] == [str(OUTAGE + timedelta(days=1))]
    assert [day["day"] for day in weeks["days"] if day["verdict"] == "not-judged"] == [str(OUTAGE)]
    assert all(day["day"] > str(OUTAGE) for day in weeks["alarms"])


def test_a_change_of_taste_is_one_alarm_one_training_and_one_publication(weeks: dict[str, Any]) -> None:
    (alarm,) = weeks["alarms"]
    assert (alarm["metric"], alarm["answer"]) == ("ndcg@20", "published")
    assert str(SHIFT) <= alarm["day"] <= str(SHIFT + timedelta(days=4))
    (run,) = weeks["runs"]  # though the monitor ran, and told of it, twice
    assert run["state_type"] == "COMPLETED"
    assert run["parameters"]["degradation"]["metric"] == "ndcg@20"
    assert run["parameters"]["degradation"]["baseline"] == pytest.approx(alarm["baseline"])


def test_quality_comes_back(weeks: dict[str, Any]) -> None:
    worst = min(day["ndcg"] for day in weeks["days"] if day["ndcg"] is not None)
    assert worst < 0.6 * weeks["usual"]
    assert weeks["now"] >= 0.9 * weeks["usual"]


def test_listeners_say_it_too(weeks: dict[str, Any]) -> None:
    before = [day["useful"] for day in weeks["days"] if day["day"] < str(SHIFT) and day["useful"] is not None]
    fallen = [day["useful"] for day in weeks["days"] if day["day"] == str(SHIFT + timedelta(days=1))]
    assert len(before) > 10
    assert fallen[0] < 0.8 * sum(before) / len(before)
    assert weeks["days"][-1]["useful"] > fallen[0]


def test_the_curve_is_drawn(weeks: dict[str, Any], folder: Path) -> None:
    plot = (folder / "weeks" / "quality.png").read_bytes()
    assert plot.startswith(b"\x89PNG")
    assert len(plot) > 20_000
