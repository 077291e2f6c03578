"""The state of each running job in a worker process: sent once, and restored before the first block."""

from __future__ import annotations

import asyncio
import pickle
from threading import Lock
from typing import Any

from distributed import WorkerPlugin
from threadpoolctl import threadpool_limits

from compute.blocks import BlockJob, ClosableState
from core.errors import ComputeError

# Followed by the id of the client and a number.
STATE_PREFIX = "moovitamix-"
_pickled: dict[str, bytes] = {}
_restored: dict[str, Any] = {}
_lock = Lock()


class JobState(WorkerPlugin):
    """Gives the pickled state of a job to a worker. The scheduler also sends it to workers that join late."""

    def __init__(self, name: str, pickled: bytes) -> None:
        self.name = name
        self._state = pickled

    def setup(self, worker: Any) -> None:
        """Hold the state until the first block needs it. Called by Dask."""
        _pickled[self.name] = self._state

    async def teardown(self, worker: Any) -> None:
        """Forget the state, when the job has ended. Waits for a block that restores it. Called by Dask.

        A thread waits, so that the worker still answers.
        """
        await asyncio.to_thread(self._forget)

    def _forget(self) -> None:
        with _lock:
            _pickled.pop(self.name, None)
            state = _restored.pop(self.name, None)
        if isinstance(state, ClosableState):
            state.close()


def compute_block(name: str, job: BlockJob[Any, Any, Any], block: Any) -> Any:
    """Compute one block on a worker, with the state of that name."""
    return job.compute(_state(name), block)


def _state(name: str) -> Any:
    with _lock:
        if name not in _restored:
            if name not in _pickled:
                raise ComputeError("a worker has no state for its block; run again")
            _restored[name] = pickle.loads(_pickled[name])  # noqa: S301, TLS authenticates the flow
            del _pickled[name]
            threadpool_limits(1, "blas")  # the state has loaded the library; the limit stays
        return _restored[name]
