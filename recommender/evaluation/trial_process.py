"""The process of one trial: read a task from a folder, fit and recommend, and write the result.

`recommender.evaluation.trials` starts `python -m recommender.evaluation.trial_process INPUT_FOLDER RESULT_FOLDER`; do
not run it yourself. It imports little, so that it starts fast.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
import traceback
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from core.errors import MoovitamixError
from recommender.data.interactions import Ids, Interactions
from recommender.evaluation.early_stop import StopRule
from recommender.evaluation.fitted_models import FittedModels, peak_mb
from recommender.models.base import Ranking, Recommender


def run(input_folder: Path, result_folder: Path) -> dict[str, Any]:
    """Fit, recommend and save; write the ranking to the result folder. Return seconds and MiB.

    Seconds and memory are those of a process that fits every member of a blend itself.
    """
    request: dict[str, Any] = json.loads((input_folder / "request.json").read_text())
    task: dict[str, Any] = json.loads((result_folder / "task.json").read_text())
    module, _, name = task["model"].partition(":")
    model_class = getattr(import_module(module), name)
    interactions = Interactions.load(input_folder / "interactions.npz")
    exclude = _excluded_pairs(input_folder, request["exclude"], interactions)
    users = np.load(input_folder / "users.npy", allow_pickle=False)
    fitted_models = FittedModels(input_folder / "fitted")
    model, cost = fitted_models.fit(
        model_class(**task["params"]), interactions, task["memory_mb"], is_member=task["is_member"]
    )
    begin = time.perf_counter()
    model.fold_in(interactions.select_users(np.unique(users)))  # no others are needed
    folded_in = time.perf_counter()
    ranking = rank_until_stopped(model, users, request["n"], exclude, _stop_rule(result_folder))
    scored = time.perf_counter()
    if isinstance(ranking, str):
        return {"stopped": ranking}
    if task["save_to"]:
        model.save(Path(task["save_to"]))
    np.savez(
        result_folder / "ranking.npz",
        ids=np.asarray(ranking.ids, np.int64),
        scores=np.asarray(ranking.scores, np.float32),
    )
    return {
        "fit_seconds": round(cost.seconds + folded_in - begin, 4),
        "score_seconds": round(scored - folded_in, 4),
        "peak_memory_mb": round(max(cost.peak_mb, peak_mb()), 1),
    }


def rank_until_stopped(
    model: Recommender, users: Ids, n: int, exclude: Interactions | None, rule: StopRule | None
) -> Ranking | str:
    """Recommend n tracks to each user, or return the reason why the rule stopped the trial."""
    if rule is None:
        return model.recommend(users, n, exclude)
    scored = np.empty(0, np.intp)
    ids, scores = np.empty((len(users), n), np.int64), np.empty((len(users), n), np.float32)
    for part in rule.parts():
        ids[part], scores[part] = model.recommend(users[part], n, exclude)
        scored = np.sort(np.concatenate([scored, part]))
        if len(scored) == len(users):
            break
        if reason := rule.reason_to_stop(scored, Ranking(ids[scored], scores[scored])):
            return reason
    return Ranking(ids, scores)


def _stop_rule(result_folder: Path) -> StopRule | None:
    file = result_folder / "stop_rule.npz"
    return StopRule.load(file) if file.exists() else None


def _excluded_pairs(input_folder: Path, name: str | None, interactions: Interactions) -> Interactions | None:
    if name is None:
        return None
    return interactions if name == "interactions" else Interactions.load(input_folder / f"{name}.npz")


def _failure_reason(error: BaseException) -> str:
    """One line. The text of a foreign error may contain personal data, so it is left out."""
    if isinstance(error, MoovitamixError):
        return " ".join(str(error).split())
    if isinstance(error, MemoryError):
        return "ran out of memory"
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"raised {type(error).__name__} at {Path(frame.filename).name}:{frame.lineno}"


def _end_with_parent() -> None:
    sys.stdin.buffer.read()
    os._exit(1)


def main(input_folder: Path, result_folder: Path) -> int:
    """Exit 0: measured; 1: the model failed, and result.json has the reason."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        result = run(input_folder, result_folder)
    except BaseException as error:  # a model may raise anything, SystemExit included
        result = {"failure": _failure_reason(error)}
    (result_folder / "result.json").write_text(json.dumps(result))
    return 1 if "failure" in result else 0


if __name__ == "__main__":
    code = main(Path(sys.argv[1]), Path(sys.argv[2]))
    os._exit(code)  # do not wait for threads that a model left running
