"""The process of one trial: read a task from a folder, fit and recommend, and write the result.

`recommender.evaluation.trials` starts `python -m recommender.evaluation.trial_process INPUT_FOLDER RESULT_FOLDER`; do
not run it yourself. It imports little, so that it starts fast.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import threading
import time
import traceback
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from core.errors import MoovitamixError
from recommender.data.interactions import Interactions


def run(input_folder: Path, result_folder: Path) -> dict[str, Any]:
    """Fit, recommend and save; write the ranking to the result folder. Return seconds and MiB."""
    request: dict[str, Any] = json.loads((input_folder / "request.json").read_text())
    task: dict[str, Any] = json.loads((result_folder / "task.json").read_text())
    module, _, name = task["model"].partition(":")
    model_class = getattr(import_module(module), name)
    interactions = Interactions.load(input_folder / "interactions.npz")
    exclude = _excluded_pairs(input_folder, request["exclude"], interactions)
    users = np.load(input_folder / "users.npy", allow_pickle=False)
    begin = time.perf_counter()
    model = model_class(**task["params"]).fit(interactions)
    fitted = time.perf_counter()
    ranking = model.recommend(users, request["n"], exclude)
    scored = time.perf_counter()
    if task["save_to"]:
        model.save(Path(task["save_to"]))
    np.savez(
        result_folder / "ranking.npz",
        ids=np.asarray(ranking.ids, np.int64),
        scores=np.asarray(ranking.scores, np.float32),
    )
    return {
        "fit_seconds": round(fitted - begin, 4),
        "score_seconds": round(scored - fitted, 4),
        "peak_memory_mb": round(_peak_mb(), 1),
    }


def _excluded_pairs(input_folder: Path, name: str | None, interactions: Interactions) -> Interactions | None:
    if name is None:
        return None
    return interactions if name == "interactions" else Interactions.load(input_folder / f"{name}.npz")


def _peak_mb() -> float:
    """Peak resident memory in MiB. On Linux, getrusage starts at the parent's peak, so /proc comes first."""
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    except OSError:
        pass
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


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
