"""Trials: a faulty model fails its own trial only; a valid model gives the same ranking as in this process."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from core.errors import ModelError
from recommender.data.interactions import Interactions
from recommender.evaluation.trials import TrialLimits, run_trial
from recommender.models.base import Recommender
from recommender.models.ease import EASE
from recommender.models.popularity import Popularity
from recommender.models.registry import load_model
from tests.child_processes import children_running
from tests.unit.recommender import broken_models as broken
from tests.unit.recommender.worlds import tasteful

_TRIAL_PROCESS = "recommender.evaluation.trial_process"

WORLD = tasteful()


def test_trial_gives_the_ranking_of_the_model() -> None:
    users = np.array([3, 0, 999])
    trial = run_trial(EASE, {"ridge": 2.0}, WORLD, users, 5, exclude=WORLD)
    expected = EASE(ridge=2.0).fit(WORLD).recommend(users, 5, WORLD)
    assert trial.model == "ease"
    assert trial.ranking.ids.tolist() == expected.ids.tolist()
    assert trial.ranking.scores == pytest.approx(expected.scores, rel=1e-4)
    assert trial.fit_seconds > 0
    assert trial.score_seconds > 0


def test_peak_memory_excludes_the_parent_process() -> None:
    ballast = np.ones(2**26)  # 512 MiB
    trial = run_trial(Popularity, {}, WORLD, WORLD.user_ids, 5)
    assert ballast.any()
    assert 20 < trial.peak_memory_mb < 400


def test_trial_can_save_the_model(tmp_path: Path) -> None:
    trial = run_trial(Popularity, {}, WORLD, WORLD.user_ids, 5, exclude=WORLD, save_to=tmp_path / "model.npz")
    model = load_model(tmp_path / "model.npz")
    assert isinstance(model, Popularity)
    repeated = model.fold_in(WORLD).recommend(WORLD.user_ids, 5, WORLD)
    assert repeated.ids.tolist() == trial.ranking.ids.tolist()


@pytest.mark.parametrize(
    ("model_class", "reason"),
    [
        (broken.Raises, "raised KeyError at broken_models.py:"),
        (broken.Refuses, "refuses needs more than this"),
        (broken.Crashes, r"crashed \(SIGSEGV\)"),
        (broken.Leaves, "ended without a result"),
        (broken.GivesNaN, "returned scores that are not finite numbers"),
        (broken.ScoresNaN, "scores_nan gave scores that are not finite numbers"),
        (broken.Repeats, "recommended a track twice to one user"),
        (broken.NamesPlayed, "recommended excluded tracks"),
    ],
)
def test_faulty_model_fails_with_one_line(model_class: type[Recommender], reason: str) -> None:
    with pytest.raises(ModelError, match=reason) as caught:
        run_trial(model_class, {}, WORLD, WORLD.user_ids, 5, exclude=WORLD)
    assert "\n" not in str(caught.value)
    assert "anna@" not in str(caught.value)


def test_hanging_model_is_killed_at_the_time_limit() -> None:
    with pytest.raises(ModelError, match="exceeded its time limit of 2 s"):
        run_trial(broken.Hangs, {}, WORLD, WORLD.user_ids, 5, limits=TrialLimits(seconds=2))
    assert not children_running(_TRIAL_PROCESS)


def test_model_is_killed_at_the_memory_limit() -> None:
    with pytest.raises(ModelError, match="exceeded its memory limit of 300 MB"):
        run_trial(broken.EatsMemory, {}, WORLD, WORLD.user_ids, 5, limits=TrialLimits(memory_mb=300))


def test_unknown_setting_fails_the_trial() -> None:
    with pytest.raises(ModelError, match="raised TypeError"):
        run_trial(Popularity, {"factors": 3}, WORLD, WORLD.user_ids, 5)


def test_empty_interactions_give_an_empty_ranking() -> None:
    trial = run_trial(Popularity, {}, Interactions.from_pairs([], []), np.array([1, 2]), 3)
    assert np.isneginf(trial.ranking.scores).all()


def test_trial_ends_with_its_parent_process(tmp_path: Path) -> None:
    WORLD.save(tmp_path / "world.npz")
    code = (
        "import pathlib, sys; from recommender.data.interactions import Interactions;"
        "from recommender.evaluation.trials import run_trial; from tests.unit.recommender.broken_models import Hangs;"
        "world = Interactions.load(pathlib.Path(sys.argv[1])); run_trial(Hangs, {}, world, world.user_ids, 5)"
    )
    starter = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "world.npz")])
    try:
        trial = _wait_for_child(psutil.Process(starter.pid))
    finally:
        starter.kill()
        starter.wait()
    trial.wait(timeout=60)


def _wait_for_child(process: psutil.Process) -> psutil.Process:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for child in children_running(_TRIAL_PROCESS, process):
            if child.num_threads() > 1:  # it already watches its parent
                return child
        time.sleep(0.05)
    raise AssertionError("no trial was started")


def test_files_of_killed_processes_are_removed_and_files_in_use_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    abandoned, used, foreign = (
        tmp_path / f"trials-{owner}-x" for owner in (ended.pid, psutil.Process().ppid(), "others")
    )
    for folder in (abandoned, used, foreign):
        folder.mkdir()
    run_trial(Popularity, {}, WORLD, WORLD.user_ids, 5)
    assert sorted(tmp_path.iterdir()) == sorted([used, foreign])


def test_trial_process_imports_no_heavy_packages() -> None:
    code = (
        "import sys, recommender.evaluation.trial_process, recommender.models.popularity;"
        "print([name for name in ('prefect', 'great_expectations', 'polars', 'implicit') if name in sys.modules])"
    )
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert process.stdout.strip() == "[]"
