"""Fitted models that the trials of one search share: a model with the same settings and plays is fitted once."""

from __future__ import annotations

import json
import resource
import time
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from core.atomic_files import write_atomically
from core.errors import ModelError, ModelFileError
from recommender.data.interactions import Interactions
from recommender.models.base import Recommender
from recommender.models.blend import Blend

_MB = 2**20
_CAPACITY_BYTES = 2 * 2**30


@dataclass(frozen=True)
class FittingCost:
    """What fitting costs in one process: seconds, and the peak memory of the whole process in MiB."""

    seconds: float
    peak_mb: float


@dataclass(frozen=True)
class FittedModels:
    """The folder of the model files of one search; the models of one folder learn from the same plays.

    Files take at most 2 GiB; the oldest are deleted. The file of a model has its cost beside it.
    """

    folder: Path

    def fit(
        self, model: Recommender, interactions: Interactions, memory_mb: float, *, is_member: bool
    ) -> tuple[Recommender, FittingCost]:
        """Fit a model, or the members of a blend, or read what an earlier trial fitted; then call `fold_in`.

        A model is kept if it `is_member` of a blend. The cost is that of fitting everything in one process, also for
        what was read. Raises ModelError when this would need more than `memory_mb`.
        """
        if not isinstance(model, Blend):
            return self._fit(model, interactions) if is_member else _fit(model, interactions)
        costs: list[FittingCost] = []
        mb_before = 0.0

        def fit_member(member: Recommender) -> Recommender:
            nonlocal mb_before
            fitted, cost = self._fit(member, interactions)
            costs.append(FittingCost(cost.seconds, cost.peak_mb + mb_before))
            mb_before += _bytes_of(fitted) / _MB
            return fitted

        model.fit_members(interactions, fit_member)
        peak = max([peak_mb(), *(cost.peak_mb for cost in costs)])
        if peak > memory_mb:
            raise ModelError(f"needs {peak:,.0f} MB to fit its members, more than its limit of {memory_mb:,.0f} MB")
        return model, FittingCost(sum(cost.seconds for cost in costs), peak)

    def _fit(self, model: Recommender, interactions: Interactions) -> tuple[Recommender, FittingCost]:
        file = self.folder / f"{_digest(model)}.npz"
        try:
            cost = FittingCost(**json.loads(file.with_suffix(".json").read_text()))
            return type(model).load(file), cost
        except (FileNotFoundError, ModelFileError):
            fitted, cost = _fit(model, interactions)
            self._keep(fitted, cost, file)
            return fitted, cost

    def _keep(self, model: Recommender, cost: FittingCost, file: Path) -> None:
        size = _bytes_of(model)
        if not 0 < size <= _CAPACITY_BYTES:
            return
        try:
            self.folder.mkdir(exist_ok=True)
            self._make_room(_CAPACITY_BYTES - size)
            write_atomically(file.with_suffix(".json"), json.dumps(asdict(cost)))
            model.save(file)
        except OSError:  # a full disk costs time, not the trial
            file.unlink(missing_ok=True)

    def _make_room(self, capacity_bytes: int) -> None:
        """Delete the oldest files until the others take at most `capacity_bytes`."""
        status = {path: path.stat() for path in self.folder.glob("*.npz")}
        used = sum(entry.st_size for entry in status.values())
        for path in sorted(status, key=lambda path: status[path].st_mtime_ns):
            if used <= capacity_bytes:
                return
            path.unlink(missing_ok=True)
            used -= status[path].st_size


def _fit(model: Recommender, interactions: Interactions) -> tuple[Recommender, FittingCost]:
    begin = time.perf_counter()
    model.fit_tracks(interactions)
    return model, FittingCost(round(time.perf_counter() - begin, 4), round(peak_mb(), 1))


def _digest(model: Recommender) -> str:
    key: list[Any] = [type(model).__module__, type(model).__qualname__, model.version, dict(model.params)]
    return sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()


def _bytes_of(model: Recommender) -> int:
    return sum(array.nbytes for array in model.learned().arrays.values())


def peak_mb() -> float:
    """Peak resident memory of this process in MiB."""
    try:  # on Linux, getrusage starts at the peak of the parent process
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    except OSError:
        pass
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
