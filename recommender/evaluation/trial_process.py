"""The process of one trial: reads its task from a folder, leaves there what came of it, and imports little.

`recommender.evaluation.trials` starts `python -m recommender.evaluation.trial_process GROUND ANSWER`; do not run it by
hand.
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


def run(ground: Path, answer: Path) -> dict[str, Any]:
    """Fit, recommend, save; the ranking is written to the answer's folder. Returns seconds and MiB."""
    request: dict[str, Any] = json.loads((ground / "request.json").read_text())
    task: dict[str, Any] = json.loads((answer / "task.json").read_text())
    module, _, name = task["model"].partition(":")
    make = getattr(import_module(module), name)
    interactions = Interactions.load(ground / "interactions.npz")
    exclude = _exclude(ground, request["exclude"], interactions)
    users = np.load(ground / "users.npy", allow_pickle=False)
    begin = time.perf_counter()
    model = make(**task["params"]).fit(interactions)
    fitted = time.perf_counter()
    ranking = model.recommend(users, request["n"], exclude)
    scored = time.perf_counter()
    if task["save_to"]:
        model.save(Path(task["save_to"]))
    np.savez(
        answer / "ranking.npz", ids=np.asarray(ranking.ids, np.int64), scores=np.asarray(ranking.scores, np.float32)
    )
    return {
        "fit_seconds": round(fitted - begin, 4),
        "score_seconds": round(scored - fitted, 4),
        "peak_memory_mb": round(_peak_mb(), 1),
    }


def _exclude(ground: Path, name: str | None, interactions: Interactions) -> Interactions | None:
    if name is None:
        return None
    return interactions if name == "interactions" else Interactions.load(ground / f"{name}.npz")


def _peak_mb() -> float:
    """The most that was resident. Not getrusage where it can be avoided: on Linux, that starts at the parent's."""
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    except OSError:
        pass
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _why(error: BaseException) -> str:
    """One line. The text of errors that are not ours may hold anything, so it is left out."""
    if isinstance(error, MoovitamixError):
        return " ".join(str(error).split())
    if isinstance(error, MemoryError):
        return "ran out of memory"
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"raised {type(error).__name__} at {Path(frame.filename).name}:{frame.lineno}"


def _end_with_parent() -> None:
    sys.stdin.buffer.read()
    os._exit(1)


def main(ground: Path, answer: Path) -> int:
    """Exit 0: measured; 1: the model is out, and said.json says why."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        answer_data = run(ground, answer)
    except BaseException as error:  # whatever a model raises, SystemExit included
        answer_data = {"failure": _why(error)}
    (answer / "said.json").write_text(json.dumps(answer_data))
    return 1 if "failure" in answer_data else 0


if __name__ == "__main__":
    code = main(Path(sys.argv[1]), Path(sys.argv[2]))
    os._exit(code)  # without waiting for threads that a model left behind
