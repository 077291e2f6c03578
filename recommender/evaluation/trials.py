"""Run one trial: a model fits and recommends in its own process, with limits on time and memory.

A model that raises, hangs, exhausts memory, crashes or returns invalid scores fails its own trial and nothing else.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray

from core.errors import ModelError
from recommender.data.interactions import Ids, Interactions
from recommender.models.base import Params, Ranking, Recommender

_POLL_SECONDS = 0.02
_FOLDER = "trials-"  # followed by the id of the process that owns the folder
_MB = 2**20


@dataclass(frozen=True)
class TrialLimits:
    """Limits of one trial: `seconds` of wall time, `memory_mb` MiB of resident memory."""

    seconds: float = 300.0
    memory_mb: float = 2048.0


@dataclass(frozen=True, eq=False)
class Trial:
    """The result of a trial: one row of `ranking` per requested user. Peak memory is that of the whole process."""

    model: str
    params: Params
    ranking: Ranking
    fit_seconds: float
    score_seconds: float
    peak_memory_mb: float


@dataclass(frozen=True, eq=False)
class TrialRunner:
    """Run trials of several models on the same plays, users, number of tracks and exclusions."""

    folder: Path
    track_ids: Ids
    users: Ids
    n: int
    exclude: Interactions | None

    @classmethod
    @contextmanager
    def prepare(
        cls, interactions: Interactions, users: Ids, n: int, exclude: Interactions | None = None
    ) -> Iterator[TrialRunner]:
        """Write the input files of the trial processes. They are removed on exit, or before the next trial."""
        remove_abandoned_trials()
        with tempfile.TemporaryDirectory(prefix=f"{_FOLDER}{os.getpid()}-") as name:
            folder = Path(name)
            interactions.save(folder / "interactions.npz")
            if exclude is not None and exclude is not interactions:
                exclude.save(folder / "exclude.npz")
            np.save(folder / "users.npy", users)
            request = {"n": n, "exclude": "interactions" if exclude is interactions else "exclude" if exclude else None}
            (folder / "request.json").write_text(json.dumps(request))
            yield cls(folder, interactions.track_ids, users, n, exclude)

    def run(
        self, model_class: type[Recommender], params: Params, limits: TrialLimits, save_to: Path | None = None
    ) -> Trial:
        """Run one trial, and write the model to `save_to`, if given. Raises ModelError with a reason of one line."""
        with tempfile.TemporaryDirectory(dir=self.folder) as name:
            result_folder = Path(name)
            task = {
                "model": f"{model_class.__module__}:{model_class.__qualname__}",
                "params": dict(params),
                "save_to": str(save_to.absolute()) if save_to else None,
            }
            (result_folder / "task.json").write_text(json.dumps(task))
            failure = _run_process([str(self.folder), str(result_folder)], limits)
            result = _read_result(result_folder / "result.json")
            if "failure" in result:
                raise ModelError(str(result["failure"]))
            if failure or "fit_seconds" not in result:
                raise ModelError(failure or "ended without a result")
            with np.load(result_folder / "ranking.npz", allow_pickle=False) as file:
                ranking = Ranking(file["ids"], file["scores"])
        self._check(ranking)
        return Trial(
            model_class.name,
            params,
            ranking,
            result["fit_seconds"],
            result["score_seconds"],
            result["peak_memory_mb"],
        )

    def _check(self, ranking: Ranking) -> None:
        """Validate a ranking before it is measured. Raises ModelError."""
        shape = (len(self.users), self.n)
        if ranking.ids.shape != shape or ranking.scores.shape != shape:
            raise ModelError(f"returned a ranking of shape {ranking.ids.shape} instead of {shape}")
        if np.isnan(ranking.scores).any() or np.isposinf(ranking.scores).any():
            raise ModelError("returned scores that are not finite numbers")
        filled = np.isfinite(ranking.scores)
        if not np.isin(ranking.ids[filled], self.track_ids).all():
            raise ModelError("recommended tracks that are not in the catalogue")
        # Equal neighbours in a sorted row are repeats. Empty places get distinct negative numbers.
        positions = np.where(filled, np.searchsorted(self.track_ids, ranking.ids), -1 - np.arange(self.n))
        if (np.diff(np.sort(positions, axis=1), axis=1) == 0).any():
            raise ModelError("recommended a track twice to one user")
        if self.exclude is not None and self._has_any(self.exclude, ranking.ids, filled):
            raise ModelError("recommended excluded tracks")

    def _has_any(self, pairs: Interactions, ids: Ids, filled: NDArray[np.bool_]) -> bool:
        excluded = pairs.select_users(self.users).plays
        columns, width = pairs.track_columns(ids[filled]), excluded.shape[1]
        recommended = np.nonzero(filled)[0] * width + columns
        rows = np.repeat(np.arange(len(self.users)), np.diff(excluded.indptr))
        return bool(np.isin(recommended[columns >= 0], rows * width + excluded.indices).any())


def remove_abandoned_trials() -> None:
    """Remove the files of killed processes, because they contain user ids and plays."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_FOLDER}*-*"):
        owner = folder.name.removeprefix(_FOLDER).partition("-")[0]
        if owner.isdigit() and not psutil.pid_exists(int(owner)):
            shutil.rmtree(folder, ignore_errors=True)


def run_trial(
    model_class: type[Recommender],
    params: Params,
    interactions: Interactions,
    users: Ids,
    n: int,
    *,
    exclude: Interactions | None = None,
    limits: TrialLimits | None = None,
    save_to: Path | None = None,
) -> Trial:
    """Fit one model on `interactions`, and recommend `n` tracks to `users`, without the pairs of `exclude`.

    Raises ModelError with a reason of one line.
    """
    with TrialRunner.prepare(interactions, users, n, exclude) as runner:
        return runner.run(model_class, params, limits or TrialLimits(), save_to)


def _run_process(arguments: list[str], limits: TrialLimits) -> str:
    """Run the trial process, and return why it failed, '' on success. It does not outlive this process."""
    process = subprocess.Popen(
        [sys.executable, "-m", "recommender.evaluation.trial_process", *arguments],
        stdin=subprocess.PIPE,  # the trial process ends when this pipe closes, even if this process is killed
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=_environment(),
        start_new_session=True,  # so that its child processes can be ended with it
    )
    try:
        return _wait_within_limits(process, limits)
    finally:
        _end(process)


def _environment() -> dict[str, str]:
    """The environment of a trial process: the import path, and a short busy wait of OpenBLAS threads.

    By default, waiting OpenBLAS threads keep their cores busy, which doubles the time of a model on a shared machine.
    """
    packages = os.pathsep.join(path or "." for path in sys.path)
    return {"OPENBLAS_THREAD_TIMEOUT": "4", **os.environ, "PYTHONPATH": packages}


def _wait_within_limits(process: subprocess.Popen[bytes], limits: TrialLimits) -> str:
    usage = psutil.Process(process.pid)
    until = time.monotonic() + limits.seconds
    while True:
        try:
            process.wait(_POLL_SECONDS)
            return _exit_reason(process.returncode)
        except subprocess.TimeoutExpired:
            pass
        if time.monotonic() > until:
            return f"exceeded its time limit of {limits.seconds:g} s"
        if _resident_mb(usage) > limits.memory_mb:
            return f"exceeded its memory limit of {limits.memory_mb:,.0f} MB"


def _resident_mb(process: psutil.Process) -> float:
    try:
        return float(process.memory_info().rss) / _MB
    except psutil.Error:  # the process has just ended
        return 0.0


def _exit_reason(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}" if code else ""
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return f"crashed ({name})"


def _end(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError, PermissionError):  # the process group has ended
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def _read_result(path: Path) -> dict[str, Any]:
    try:
        result: dict[str, Any] = json.loads(path.read_text())
        return result
    except (OSError, ValueError):
        return {}
