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
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray

from compute.blocks import IN_PROCESS, BlockJob, BlockRunner, ClosableState
from core.errors import ModelError
from recommender.data.interactions import Ids, Interactions
from recommender.evaluation.early_stop import StopRule
from recommender.evaluation.metrics import RankingMetrics, measure_ranking
from recommender.evaluation.splitting import Holdout
from recommender.models.base import Params, Ranking, Recommender
from recommender.models.diversity import candidates_for, rerank_sample

_POLL_SECONDS = 0.02
_FOLDER = "trials-"  # followed by the id of the process that owns the folder
_MB = 2**20
_OVER_TIME = "exceeded its time limit"


@dataclass(frozen=True)
class TrialLimits:
    """Limits of one trial: `seconds` of wall time, `memory_mb` MiB of resident memory."""

    seconds: float = 900.0
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
class MeasuredTrial:
    """A trial whose lists were measured. Peak memory is that of the whole process."""

    model: str
    params: Params
    measures: RankingMetrics
    fit_seconds: float
    score_seconds: float
    peak_memory_mb: float


@dataclass(frozen=True, eq=False)
class HoldoutEvaluation:
    """How lists are measured: at `k`, on a holdout, without the pairs of `train`, re-ranked with `diversity`."""

    holdout: Holdout
    train: Interactions
    k: int
    diversity: float = 0.0
    seed: int = 0

    @property
    def candidates(self) -> int:
        """The number of tracks that a model recommends to each user."""
        return min(candidates_for(self.k, self.diversity), len(self.train.track_ids))

    def measure(self, ranking: Ranking) -> RankingMetrics:
        """Measure lists of the users of the holdout, as they would be published."""
        published = rerank_sample(ranking, self.train, self.k, self.diversity, self.seed)
        return measure_ranking(published, self.holdout, self.train, self.k)


@dataclass(frozen=True, eq=False)
class TrialTask:
    """One trial: a model, its settings and limits, and the file that its process writes the model to, if any.

    Later trials of the same runner read the fitted model of a task that `is_member` of a blend. `stop_rule` belongs to
    the users of the runner.
    """

    model_class: type[Recommender]
    params: Params
    limits: TrialLimits
    save_to: Path | None = None
    is_member: bool = False
    stop_rule: StopRule | None = None


@dataclass(frozen=True, eq=False)
class FailedTrial:
    """Why a trial has no result, in one line. `over_time`: because of its limit of seconds; a retry may succeed."""

    reason: str
    over_time: bool = False


@dataclass(frozen=True, eq=False)
class StoppedTrial:
    """Why a trial was stopped before its end, in one line: it could no longer win."""

    reason: str


TrialOutcome = Trial | FailedTrial | StoppedTrial
MeasuredOutcome = MeasuredTrial | FailedTrial | StoppedTrial


class TrialInputs(ClosableState):
    """The input files of trial processes, written before the first trial. A worker of a cluster gets the arrays.

    A trial recommends `n` tracks to each of `users`, without the pairs of `exclude`.
    """

    def __init__(self, interactions: Interactions, users: Ids, n: int, exclude: Interactions | None) -> None:
        self.interactions, self.users, self.n, self.exclude = interactions, users, n, exclude
        self._lock = Lock()
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return TrialInputs, (self.interactions, self.users, self.n, self.exclude)

    def run(self, task: TrialTask) -> TrialOutcome:
        """Run one trial in its own process, and validate its ranking."""
        outcome = self._run(task)
        if isinstance(outcome, Trial):
            try:
                self._check(outcome.ranking)
            except ModelError as error:
                return FailedTrial(str(error))
        return outcome

    def _run(self, task: TrialTask) -> TrialOutcome:
        with tempfile.TemporaryDirectory(dir=self._ensure_files()) as name:
            result_folder = Path(name)
            content = {
                "model": f"{task.model_class.__module__}:{task.model_class.__qualname__}",
                "params": dict(task.params),
                "memory_mb": task.limits.memory_mb,
                "is_member": task.is_member,
                "save_to": str(task.save_to.absolute()) if task.save_to else None,
            }
            (result_folder / "task.json").write_text(json.dumps(content))
            if task.stop_rule is not None:
                task.stop_rule.save(result_folder / "stop_rule.npz")
            failure = _run_process([str(result_folder.parent), name], task.limits)
            result = _read_result(result_folder / "result.json")
            if "failure" in result:
                return FailedTrial(str(result["failure"]))
            if "stopped" in result:
                return StoppedTrial(str(result["stopped"]))
            if failure or "fit_seconds" not in result:
                return FailedTrial(failure or "ended without a result", failure.startswith(_OVER_TIME))
            with np.load(result_folder / "ranking.npz", allow_pickle=False) as file:
                ranking = Ranking(file["ids"], file["scores"])
        return Trial(
            task.model_class.name,
            task.params,
            ranking,
            result["fit_seconds"],
            result["score_seconds"],
            result["peak_memory_mb"],
        )

    def close(self) -> None:
        """Delete the input files. Files of a killed process are deleted before the next trial."""
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    def _ensure_files(self) -> str:
        with self._lock:
            if self._folder is None:
                remove_abandoned_trials()
                self._folder = tempfile.TemporaryDirectory(prefix=f"{_FOLDER}{os.getpid()}-")
                self._write(Path(self._folder.name))
            return self._folder.name

    def _write(self, folder: Path) -> None:
        exclude, interactions = self.exclude, self.interactions
        interactions.save(folder / "interactions.npz")
        if exclude is not None and exclude is not interactions:
            exclude.save(folder / "exclude.npz")
        np.save(folder / "users.npy", self.users)
        excluded = "interactions" if exclude is interactions else "exclude" if exclude else None
        (folder / "request.json").write_text(json.dumps({"n": self.n, "exclude": excluded}))

    def _check(self, ranking: Ranking) -> None:
        """Validate a ranking before it is measured. Raises ModelError."""
        users, n, track_ids = self.users, self.n, self.interactions.track_ids
        exclude, shape = self.exclude, (len(users), n)
        if ranking.ids.shape != shape or ranking.scores.shape != shape:
            raise ModelError(f"returned a ranking of shape {ranking.ids.shape} instead of {shape}")
        if np.isnan(ranking.scores).any() or np.isposinf(ranking.scores).any():
            raise ModelError("returned scores that are not finite numbers")
        filled = np.isfinite(ranking.scores)
        if not np.isin(ranking.ids[filled], track_ids).all():
            raise ModelError("recommended tracks that are not in the catalogue")
        # Equal neighbours in a sorted row are repeats. Empty places get distinct negative numbers.
        positions = np.where(filled, np.searchsorted(track_ids, ranking.ids), -1 - np.arange(n))
        if (np.diff(np.sort(positions, axis=1), axis=1) == 0).any():
            raise ModelError("recommended a track twice to one user")
        if exclude is not None and self._has_any(exclude, ranking.ids, filled):
            raise ModelError("recommended excluded tracks")

    def _has_any(self, pairs: Interactions, ids: Ids, filled: NDArray[np.bool_]) -> bool:
        users = self.users
        excluded = pairs.select_users(users).plays
        columns, width = pairs.track_columns(ids[filled]), excluded.shape[1]
        recommended = np.nonzero(filled)[0] * width + columns
        rows = np.repeat(np.arange(len(users)), np.diff(excluded.indptr))
        return bool(np.isin(recommended[columns >= 0], rows * width + excluded.indices).any())


@dataclass(frozen=True, eq=False)
class EvaluatedInputs(ClosableState):
    """The inputs of trials whose lists are measured where they run, so that no lists are sent."""

    inputs: TrialInputs
    evaluation: HoldoutEvaluation

    def run(self, task: TrialTask) -> MeasuredOutcome:
        """Run one trial, and measure its lists."""
        trial = self.inputs.run(task)
        if not isinstance(trial, Trial):
            return trial
        return MeasuredTrial(
            trial.model,
            trial.params,
            self.evaluation.measure(trial.ranking),
            trial.fit_seconds,
            trial.score_seconds,
            trial.peak_memory_mb,
        )

    def close(self) -> None:
        """See TrialInputs."""
        self.inputs.close()


def _failed(task: TrialTask, reason: str) -> FailedTrial:
    return FailedTrial(reason)


TRIAL: BlockJob[EvaluatedInputs, TrialTask, MeasuredOutcome] = BlockJob(
    "try models",
    EvaluatedInputs.run,
    resource="trial",
    describe=lambda number, task: f"{task.model_class.name} {dict(task.params)}",
    failure_result=_failed,
)


@dataclass(frozen=True, eq=False)
class TrialRunner:
    """Run and measure trials of several models on the same plays."""

    inputs: EvaluatedInputs
    blocks: BlockRunner

    @classmethod
    @contextmanager
    def prepare(
        cls, interactions: Interactions, evaluation: HoldoutEvaluation, blocks: BlockRunner = IN_PROCESS
    ) -> Iterator[TrialRunner]:
        """Yield a runner. Input files of the trial processes are deleted at the end.

        `interactions` are the plays of `evaluation.train`, as the models weight them.
        """
        users, n = evaluation.holdout.users, evaluation.candidates
        inputs = EvaluatedInputs(TrialInputs(interactions, users, n, evaluation.train), evaluation)
        try:
            yield cls(inputs, blocks)
        finally:
            inputs.close()

    def run_all(self, tasks: Sequence[TrialTask]) -> Iterator[tuple[int, MeasuredOutcome]]:
        """Yield the position and the result of each trial, in the order in which they end. Raises ComputeError."""
        job = replace(TRIAL, seconds=max((task.limits.seconds for task in tasks), default=0.0))
        yield from self.blocks.run(job, self.inputs, tasks)


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
    inputs = TrialInputs(interactions, users, n, exclude)
    try:
        outcome = inputs.run(TrialTask(model_class, params, limits or TrialLimits(), save_to))
    finally:
        inputs.close()
    if not isinstance(outcome, Trial):
        raise ModelError(outcome.reason)
    return outcome


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
            return f"{_OVER_TIME} of {limits.seconds:g} s"
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
