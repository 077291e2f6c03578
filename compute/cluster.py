"""Run blocks on a Dask cluster.

The flow is a client of the cluster. It sends the state of a job to each worker once, and then a few blocks more than
the workers have threads. Dask assigns them, and assigns the blocks of a lost worker again. Every wait has a limit.

The scheduler fails a block when its worker dies (`allowed_failures=0`), because it cannot know which of the worker's
blocks is to blame. Such blocks run again at the end, each alone. If the worker dies again, the error names the block.
"""

from __future__ import annotations

import asyncio
import logging
import pickle
import queue
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Generic
from uuid import uuid4

from distributed import CancelledError, Client, Future, KilledWorker, Security

from compute.blocks import Block, BlockJob, BlockRunner, Result, State
from compute.worker_state import STATE_PREFIX, JobState, compute_block
from core.errors import BlockFailed, ClusterUnavailable

_CHECK_SECONDS = 1.0
# Seconds for one attempt to connect, and for closing after the scheduler was lost.
_CONNECT_SECONDS = 5.0
# Blocks that wait on the scheduler for each thread of a worker, so that no worker waits for the flow.
BLOCKS_PER_THREAD = 2


@dataclass(frozen=True)
class ClusterSettings:
    """The address of the scheduler, and time limits.

    `worker_seconds`: without any worker. `block_seconds`: without any finished block while there are workers.
    """

    address: str
    version: str
    security: Mapping[str, Any] = field(default_factory=dict)
    worker_seconds: float = 60.0
    block_seconds: float = 900.0


class DaskCluster(BlockRunner):
    """Runs blocks on the workers of a scheduler."""

    def __init__(self, settings: ClusterSettings, client: Client) -> None:
        self._settings, self._client = settings, client

    @classmethod
    @contextmanager
    def connect(cls, settings: ClusterSettings) -> Iterator[DaskCluster]:
        """Connect to the scheduler. Raises ClusterUnavailable when it does not answer or has another code version."""
        for logger in ("distributed", "distributed.client"):  # Dask gives the second a level of its own
            logging.getLogger(logger).setLevel(logging.CRITICAL)  # errors are raised
        client = _connect(settings)
        try:
            cluster = cls(settings, client)
            cluster._require_version()
            yield cluster
        finally:
            with suppress(Exception):  # a lost scheduler does not answer
                client.close(timeout=_CONNECT_SECONDS)

    def run(
        self, job: BlockJob[State, Block, Result], state: State, blocks: Sequence[Block]
    ) -> Iterator[tuple[int, Result]]:
        """See BlockRunner. Results come in the order in which they are ready.

        Raises ClusterUnavailable when the scheduler is lost, no worker is there, or no block finishes in time, and
        BlockFailed for a block whose worker died twice.
        """
        if not len(blocks):
            return
        self._wait_for_worker(job)
        with self._state_on_workers(state) as name:
            run = _Run(self, self._client, self._settings, job, name, blocks)
            try:
                yield from run.results()
            finally:
                run.cancel()

    def has_workers(self, resource: str) -> bool:
        """See BlockRunner."""
        return self.threads(resource) > 0

    def threads(self, resource: str) -> int:
        """The number of blocks that workers compute at once."""
        workers = self._ask_scheduler()["workers"].values()
        if resource:
            return int(sum(min(worker["resources"].get(resource, 0), worker["nthreads"]) for worker in workers))
        return sum(worker["nthreads"] for worker in workers)

    def refused_workers(self) -> str:
        """The reasons why workers were refused, as the end of a message; '' if none was refused."""
        refused: list[str] = self._ask_scheduler("moovitamix_cluster")["refused"]
        return f"; {len(refused)} workers were refused, the last: {refused[-1]}" if refused else ""

    def _require_version(self) -> None:
        """Raises ClusterUnavailable when the cluster runs other software, or is not started by our command."""
        try:
            version = self._ask_scheduler("moovitamix_cluster")["version"]
        except AttributeError:
            version = "unknown: start it with `moovitamix compute scheduler`"
        if version != self._settings.version:
            raise ClusterUnavailable(
                f"the Dask scheduler {self._settings.address} runs another version ({version}) than this flow "
                f"({self._settings.version}); deploy the same version to both, because results depend on it"
            )

    def _ask_scheduler(self, operation: str = "identity") -> dict[str, Any]:
        try:
            answer: dict[str, Any] = self._client.sync(
                getattr(self._client.scheduler, operation),
                callback_timeout=self._answer_seconds,
            )
        except (OSError, TimeoutError, ValueError) as error:
            raise self.lost(error) from error
        return answer

    @property
    def _answer_seconds(self) -> float:
        return min(2 * _CONNECT_SECONDS, self._settings.worker_seconds)

    def _wait_for_worker(self, job: BlockJob[Any, Any, Any]) -> None:
        until = time.monotonic() + self._settings.worker_seconds
        while not self.threads(job.resource):
            if time.monotonic() > until:
                raise self.no_worker(job)
            time.sleep(min(_CHECK_SECONDS, self._settings.worker_seconds / 10))

    def no_worker(self, job: BlockJob[Any, Any, Any]) -> ClusterUnavailable:
        """The error for a cluster without a worker for the job."""
        offer = f" that offers the resource {job.resource}" if job.resource else ""
        return ClusterUnavailable(
            f"{job.name}: the Dask scheduler {self._settings.address} has had no worker{offer} for "
            f"{self._settings.worker_seconds:g} s (DASK_WORKER_SECONDS){self.refused_workers()}; start one with "
            "`moovitamix compute worker`"
        )

    def lost(self, error: BaseException | None = None) -> ClusterUnavailable:
        """The error for a scheduler that was connected before."""
        reason = f" ({type(error).__name__})" if error else ""
        return ClusterUnavailable(
            f"the connection to the Dask scheduler {self._settings.address} is lost{reason}; look at its log, and run "
            "again when it answers"
        )

    @contextmanager
    def _state_on_workers(self, state: Any) -> Iterator[str]:
        """Send the state to all workers, present and late, and yield its name there."""
        name = f"{STATE_PREFIX}{self._client.id}-{uuid4().hex[:8]}"
        try:
            self._client.sync(
                self._client._register_worker_plugin,  # `register_plugin` has no time limit
                plugin=JobState(name, pickle.dumps(state, protocol=5)),
                name=name,
                idempotent=False,
                callback_timeout=self._settings.block_seconds,  # it sends the state to all workers
            )
        except OSError as error:
            raise self.lost(error) from error
        try:
            yield name
        finally:
            with suppress(Exception):  # the scheduler forgets it with its client
                self._client.sync(
                    self._client._unregister_worker_plugin, name=name, callback_timeout=self._answer_seconds
                )


def _connect(settings: ClusterSettings) -> Client:
    """A client, as soon as the scheduler answers. Raises ClusterUnavailable."""
    until = time.monotonic() + settings.worker_seconds
    while True:
        try:
            return Client(
                settings.address,
                security=Security(**settings.security),
                timeout=min(_CONNECT_SECONDS, settings.worker_seconds),
                set_as_default=False,
            )
        except (OSError, ValueError) as error:
            if time.monotonic() > until or not isinstance(error, OSError):
                reason = " ".join(str(error).split()) or type(error).__name__
                raise ClusterUnavailable(
                    f"the Dask scheduler {settings.address} (DASK_SCHEDULER) does not answer within "
                    f"{settings.worker_seconds:g} s ({reason}); start it with `moovitamix compute scheduler`"
                ) from error


class _Run(Generic[State, Block, Result]):
    """The submitted blocks of one job, and the blocks to run again alone."""

    def __init__(
        self,
        cluster: DaskCluster,
        client: Client,
        settings: ClusterSettings,
        job: BlockJob[State, Block, Result],
        state_name: str,
        blocks: Sequence[Block],
    ) -> None:
        self._cluster, self._client, self._settings = cluster, client, settings
        self._job, self._state_name, self._blocks = job, state_name, blocks
        self._running: dict[int, Future[Any]] = {}
        self._done: queue.SimpleQueue[Future[Any]] = queue.SimpleQueue()
        self._suspects: list[int] = []
        self._attempts = count()
        self._threads = 1
        self._next_check_at = 0.0
        self._worker_at = self._finished_at = time.monotonic()

    def results(self) -> Iterator[tuple[int, Result]]:
        """Yield position and result of all blocks."""
        waiting = iter(range(len(self._blocks)))
        while True:
            self._check_workers()
            while len(self._running) < max(1, self._threads) * BLOCKS_PER_THREAD:  # all workers may restart now
                number = next(waiting, None)
                if number is None:
                    break
                self._submit(number)
            if not self._running:
                break
            yield from self._next_results()
        suspects, self._suspects = self._suspects, []
        for number in suspects:
            self._submit(number)
            while self._running:
                self._check_workers()
                yield from self._next_results()
            if self._suspects:
                yield number, self._poison_result(number)
                self._suspects = []

    def cancel(self) -> None:
        """Cancel what still runs, after an error or when the consumer stops."""
        with suppress(Exception):
            self._client.cancel(list(self._running.values()), force=True)
        self._running.clear()

    def _submit(self, number: int) -> None:
        future = self._client.submit(
            compute_block,
            self._state_name,
            self._job,
            self._blocks[number],
            key=f"{self._job.name.replace(' ', '-')}-{self._state_name}-{number}-{next(self._attempts)}",
            resources={self._job.resource: 1} if self._job.resource else None,
            pure=False,
        )
        if not self._running:
            self._finished_at = time.monotonic()
        self._running[number] = future
        future.add_done_callback(self._done.put)

    def _next_results(self) -> Iterator[tuple[int, Result]]:
        """Yield the result of the next block that is done. Yields nothing after a second, or if its worker died."""
        try:
            future = self._done.get(timeout=_CHECK_SECONDS)
        except queue.Empty:
            return
        number = next((number for number, running in self._running.items() if running is future), None)
        if number is None:
            return
        status = future.status
        if status == "cancelled":
            raise self._cluster.lost()
        results: list[Result] = []
        if status in ("finished", "error"):  # otherwise its worker died when it had the result
            with suppress(KilledWorker):
                results = self._gather(future)
        del self._running[number]
        if not results:
            self._suspects.append(number)
            return
        self._finished_at = time.monotonic()
        yield number, results[0]

    def _gather(self, future: Future[Any]) -> list[Result]:
        """The result of a block that is done, in a list; empty if its worker died meanwhile.

        Raises the error of the block, unchanged, and ClusterUnavailable at a time limit.
        """
        if future.status == "error":
            future.result()
        gathering = asyncio.run_coroutine_threadsafe(
            self._client.gather([future], asynchronous=True),
            self._client.loop.asyncio_loop,  # type: ignore[union-attr]
        )
        try:
            while not wait([gathering], timeout=_CHECK_SECONDS).done:
                if future.status in ("lost", "pending"):  # Dask would compute it again, without a limit
                    self._client.cancel([future], force=True)  # this ends `gathering` too
                    return []
                self._check_workers()
            results: list[Result] = gathering.result()
        except ClusterUnavailable:
            gathering.cancel()
            raise
        except (OSError, CancelledError) as error:
            if future.status == "error":
                raise
            raise self._cluster.lost(error) from error
        return results

    def _check_workers(self) -> None:
        """Once per second: count the workers, and raise ClusterUnavailable at a time limit."""
        now = time.monotonic()
        if now < self._next_check_at:
            return
        self._next_check_at = now + _CHECK_SECONDS
        if self._client.status != "running":
            raise self._cluster.lost()
        self._threads = self._cluster.threads(self._job.resource)
        if self._threads:
            self._worker_at = now
        elif now - self._worker_at > self._settings.worker_seconds:
            raise self._cluster.no_worker(self._job)
        else:
            self._finished_at = now
        limit = self._settings.block_seconds + self._job.seconds + self._job.seconds_per_thread * self._threads
        if self._running and now - self._finished_at > limit:
            names = ", ".join(self._job.describe(number, self._blocks[number]) for number in sorted(self._running)[:5])
            raise ClusterUnavailable(
                f"{self._job.name}: no block finished within {limit:g} s (DASK_BLOCK_SECONDS); unfinished: {names}; "
                "look at the logs of the workers"
            )

    def _poison_result(self, number: int) -> Result:
        """The result of a block whose worker died twice. Raises BlockFailed if the job has none."""
        block = self._blocks[number]
        reason = f"{self._job.name}: {self._job.describe(number, block)} ended the worker that computed it, twice"
        if self._job.failure_result is not None:
            return self._job.failure_result(block, reason)
        raise BlockFailed(f"{reason}; look at the log of the worker: it may lack memory (--memory-mb)")
