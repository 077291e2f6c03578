"""The state of a job in a worker process: an ended job leaves nothing, and a broken state keeps its error."""

from __future__ import annotations

import asyncio
import pickle
from threading import Event, Thread
from typing import Any

import pytest

from compute import worker_state
from compute.blocks import BlockJob, ClosableState
from compute.worker_state import JobState, compute_block
from core.errors import ComputeError

ANSWER: BlockJob[Any, int, int] = BlockJob("answer", lambda state, block: block)
restoring, may_restore, closed = Event(), Event(), Event()


class SlowState(ClosableState):
    """Waits while it is restored, and notes that it was closed."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, ()

    def close(self) -> None:
        closed.set()


def _restore() -> SlowState:
    restoring.set()
    may_restore.wait(60)
    return SlowState()


def test_job_that_ends_while_its_state_is_restored_leaves_no_state() -> None:
    plugin = JobState("slow", pickle.dumps(SlowState()))
    plugin.setup(None)
    block = Thread(target=compute_block, args=("slow", ANSWER, 1))
    block.start()
    assert restoring.wait(60)

    async def end_job() -> None:
        end = asyncio.create_task(plugin.teardown(None))
        await asyncio.sleep(0.2)  # the event loop is free, and the job has not ended
        assert not end.done()
        may_restore.set()
        await end

    asyncio.run(end_job())
    block.join(60)
    assert closed.is_set()
    assert "slow" not in worker_state._restored
    with pytest.raises(ComputeError, match="no state"):
        compute_block("slow", ANSWER, 1)


def test_every_block_of_a_broken_state_gets_its_error() -> None:
    plugin = JobState("broken", b"broken")
    plugin.setup(None)
    for _ in range(2):
        with pytest.raises(pickle.UnpicklingError):
            compute_block("broken", ANSWER, 1)
    asyncio.run(plugin.teardown(None))
