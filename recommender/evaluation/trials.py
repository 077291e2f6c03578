"""One trial: a model learns and recommends in a process of its own, with a limit on its time and on its memory.

A model may be anybody's. One that raises, hangs, eats memory, crashes or gives scores that are no numbers costs its
trial and nothing else.
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
_FOLDER = "trials-"  # and the number of the process it belongs to
_MB = 2**20


@dataclass(frozen=True)
class TrialLimits:
    """Of one trial: `seconds` on the clock from start to end, `memory_mb` MiB resident."""

    seconds: float = 300.0
    memory_mb: float = 2048.0


@dataclass(frozen=True, eq=False)
class Trial:
    """What came of a trial: a row of `ranking` per user asked for. Peak memory is that of the whole process."""

    model: str
    params: Params
    ranking: Ranking
    fit_seconds: float
    score_seconds: float
    peak_memory_mb: float


@dataclass(frozen=True, eq=False)
class TrialRunner:
    """What trials are run on: the same plays, users, number of tracks and exclusions for every model."""

    folder: Path
    track_ids: Ids
    users: Ids
    n: int
    exclude: Interactions | None

    @classmethod
    @contextmanager
    def of(
        cls, interactions: Interactions, users: Ids, n: int, exclude: Interactions | None = None
    ) -> Iterator[TrialRunner]:
        """Put into files what the processes read; they are gone on the way out, or when the next trial begins."""
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

    def run(self, make: type[Recommender], params: Params, limits: TrialLimits, save_to: Path | None = None) -> Trial:
        """Try one model once, and write it to `save_to`, if given. Raises ModelError: one line that says why not."""
        with tempfile.TemporaryDirectory(dir=self.folder) as name:
            answer = Path(name)
            task = {
                "model": f"{make.__module__}:{make.__qualname__}",
                "params": dict(params),
                "save_to": str(save_to.absolute()) if save_to else None,
            }
            (answer / "task.json").write_text(json.dumps(task))
            ended = _run_process([str(self.folder), str(answer)], limits)
            answer_data = _read_answer(answer / "said.json")
            if "failure" in answer_data:
                raise ModelError(str(answer_data["failure"]))
            if ended or "fit_seconds" not in answer_data:
                raise ModelError(ended or "ended without an answer")
            with np.load(answer / "ranking.npz", allow_pickle=False) as file:
                ranking = Ranking(file["ids"], file["scores"])
        self._check(ranking)
        return Trial(
            make.name,
            params,
            ranking,
            answer_data["fit_seconds"],
            answer_data["score_seconds"],
            answer_data["peak_memory_mb"],
        )

    def _check(self, ranking: Ranking) -> None:
        """Nobody's ranking is measured before it is one. Raises ModelError."""
        shape = (len(self.users), self.n)
        if ranking.ids.shape != shape or ranking.scores.shape != shape:
            raise ModelError(f"gave a ranking of {ranking.ids.shape} instead of {shape}")
        if np.isnan(ranking.scores).any() or np.isposinf(ranking.scores).any():
            raise ModelError("gave scores that are not numbers")
        given = np.isfinite(ranking.scores)
        if not np.isin(ranking.ids[given], self.track_ids).all():
            raise ModelError("named tracks that are not in the catalogue")
        # Equal neighbours of a sorted row are repeats; empty places sort by their own, distinct numbers.
        places = np.where(given, np.searchsorted(self.track_ids, ranking.ids), -1 - np.arange(self.n))
        if (np.diff(np.sort(places, axis=1), axis=1) == 0).any():
            raise ModelError("named a track twice for one user")
        if self.exclude is not None and self._has_any(self.exclude, ranking.ids, given):
            raise ModelError("named tracks that were to be left out")

    def _has_any(self, pairs: Interactions, ids: Ids, given: NDArray[np.bool_]) -> bool:
        excluded = pairs.of_users(self.users).plays
        columns, width = pairs.columns_of(ids[given]), excluded.shape[1]
        named = np.nonzero(given)[0] * width + columns
        rows = np.repeat(np.arange(len(self.users)), np.diff(excluded.indptr))
        return bool(np.isin(named[columns >= 0], rows * width + excluded.indices).any())


def remove_abandoned_trials() -> None:
    """Remove what killed processes left: plays, with the ids of users."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_FOLDER}*-*"):
        owner = folder.name.removeprefix(_FOLDER).partition("-")[0]
        if owner.isdigit() and not psutil.pid_exists(int(owner)):
            shutil.rmtree(folder, ignore_errors=True)


def run_trial(
    make: type[Recommender],
    params: Params,
    interactions: Interactions,
    users: Ids,
    n: int,
    *,
    exclude: Interactions | None = None,
    limits: TrialLimits | None = None,
    save_to: Path | None = None,
) -> Trial:
    """One model, once: fitted on `interactions`, the best `n` tracks of `users`, without the pairs of `exclude`.

    Raises ModelError: one line that says why the model is out.
    """
    with TrialRunner.of(interactions, users, n, exclude) as ground:
        return ground.run(make, params, limits or TrialLimits(), save_to)


def _run_process(arguments: list[str], limits: TrialLimits) -> str:
    """Why it was ended, or how it ended; '' when all is well. It does not outlive this process."""
    process = subprocess.Popen(
        [sys.executable, "-m", "recommender.evaluation.trial_process", *arguments],
        stdin=subprocess.PIPE,  # it ends itself when this closes, even when we are killed
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=_environment(),
        start_new_session=True,  # so that whatever it starts can be ended with it
    )
    try:
        return _watch(process, limits)
    finally:
        _end(process)


def _environment() -> dict[str, str]:
    """Where our packages are, and threads of linear algebra that sleep when they wait.

    By default they keep their cores busy for a while, which doubles the time of a model when others need these too.
    """
    packages = os.pathsep.join(path or "." for path in sys.path)
    return {"OPENBLAS_THREAD_TIMEOUT": "4", **os.environ, "PYTHONPATH": packages}


def _watch(process: subprocess.Popen[bytes], limits: TrialLimits) -> str:
    watched = psutil.Process(process.pid)
    until = time.monotonic() + limits.seconds
    while True:
        try:
            process.wait(_POLL_SECONDS)
            return _how_it_ended(process.returncode)
        except subprocess.TimeoutExpired:
            pass
        if time.monotonic() > until:
            return f"ran past its time limit of {limits.seconds:g} s"
        if _resident_mb(watched) > limits.memory_mb:
            return f"took more memory than its limit of {limits.memory_mb:,.0f} MB"


def _resident_mb(process: psutil.Process) -> float:
    try:
        return float(process.memory_info().rss) / _MB
    except psutil.Error:  # it has just ended
        return 0.0


def _how_it_ended(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}" if code else ""
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return f"crashed ({name})"


def _end(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError, PermissionError):  # nobody of its group is left
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def _read_answer(path: Path) -> dict[str, Any]:
    try:
        answer_data: dict[str, Any] = json.loads(path.read_text())
        return answer_data
    except (OSError, ValueError):
        return {}
