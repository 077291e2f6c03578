"""Thresholds: their defaults, their settings, and the error for a wrong value."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from core.errors import SettingsError
from expectations.thresholds import Thresholds, load_thresholds


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_thresholds_have_documented_defaults() -> None:
    thresholds = load_thresholds()
    assert thresholds.max_rejected_share == 0.01
    assert thresholds.max_rejected_plays_share == 0.01
    assert thresholds.min_share_of_published == 0.7
    assert thresholds.warn_share_of_published == 0.9
    assert thresholds.min_day_volume == 0.7
    assert thresholds.warn_growth == 1.5
    assert thresholds.warn_removed_share == 0.1
    assert thresholds.warn_stale_days == 7


def test_every_threshold_has_a_description() -> None:
    assert all(field.description for field in Thresholds.model_fields.values())


def test_environment_and_dotenv_change_thresholds(empty_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (empty_folder / ".env").write_text("THRESHOLD_MAX_REJECTED_SHARE=0.05\nTHRESHOLD_WARN_GROWTH=3\nPAGE_SIZE=10\n")
    monkeypatch.setenv("THRESHOLD_WARN_GROWTH", "2")
    assert (load_thresholds().max_rejected_share, load_thresholds().warn_growth) == (0.05, 2)


def test_the_error_names_each_wrong_threshold_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THRESHOLD_MAX_REJECTED_SHARE", "5")
    monkeypatch.setenv("THRESHOLD_WARN_PLAYS_PER_SESSION", "many")
    with pytest.raises(SettingsError) as error:
        load_thresholds()
    assert str(error.value) == (
        "wrong threshold: THRESHOLD_MAX_REJECTED_SHARE input should be less than or equal to 1; "
        "THRESHOLD_WARN_PLAYS_PER_SESSION input should be a valid integer, unable to parse string as an integer "
        "(set it in the environment or in .env)"
    )


@pytest.mark.parametrize(("pair", "below"), [("SHARE_OF_PUBLISHED", "0.5"), ("COVERAGE", "0.005")])
def test_a_warning_threshold_beyond_the_blocking_threshold_is_refused(
    pair: str, below: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"THRESHOLD_WARN_{pair}", below)
    with pytest.raises(SettingsError, match=f"THRESHOLD_WARN_{pair} must not be below THRESHOLD_MIN_{pair}, or a"):
        load_thresholds()


def test_thresholds_import_without_great_expectations() -> None:
    """Flows read them without waiting for Great Expectations, and its telemetry is off."""
    code = (
        "import expectations.thresholds, os, sys;"
        "print('great_expectations' in sys.modules, os.environ['GX_ANALYTICS_ENABLED'])"
    )
    root = Path(__file__).parents[3]
    result = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["False", "False"]
