"""A Dask cluster of real processes on loopback. Each has its own DATA_DIR."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from compute.blocks import BlockRunner
from compute.runner import open_block_runner
from core.settings import Settings

ROOT = Path(__file__).parents[3]
_SECONDS = 60.0


@dataclass
class ComputeProcess:
    """A process of the cluster, and the lines that it prints."""

    process: subprocess.Popen[str]
    lines: list[str] = field(default_factory=list)
    _new_lines: queue.Queue[str] = field(default_factory=queue.Queue)

    @classmethod
    def start(cls, module: str, folder: Path, environment: dict[str, str], *arguments: str) -> Self:
        folder.mkdir(parents=True, exist_ok=True)
        process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            cwd=ROOT,
            env={**os.environ, "DATA_DIR": str(folder), **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        started = cls(process)
        threading.Thread(target=started._read, daemon=True).start()
        return started

    def _read(self) -> None:
        assert self.process.stdout is not None
        with suppress(ValueError):  # the file is closed
            for line in self.process.stdout:
                self.lines.append(line)
                self._new_lines.put(line)
        self._new_lines.put("")

    def wait_for(self, text: str) -> str:
        """Return the first new line with this text."""
        while True:
            line = self._new_lines.get(timeout=_SECONDS)
            if text in line:
                return line
            assert line, f"ended without {text!r}: {''.join(self.lines)}"

    def wait(self) -> int:
        """The exit code, after its end."""
        code = self.process.wait(_SECONDS)
        while self._new_lines.get(timeout=_SECONDS):
            pass
        return code

    def kill(self) -> None:
        """SIGKILL to the process and its children."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(_SECONDS)
        if self.process.stdout is not None:
            self.process.stdout.close()

    def stop(self) -> None:
        """SIGTERM, and SIGKILL if that does not end it."""
        self.process.terminate()
        try:
            self.process.wait(_SECONDS)
        finally:
            self.kill()


@dataclass
class LocalCluster:
    """A scheduler and workers. Its settings are those of a flow that uses it."""

    folder: Path
    version: str = "1.0"
    environment: dict[str, str] = field(default_factory=dict)
    workers: list[ComputeProcess] = field(default_factory=list)
    flows: list[ComputeProcess] = field(default_factory=list)
    address: str = ""

    def __enter__(self) -> Self:
        environment = {**self.environment, "CODE_VERSION": self.version}
        self.scheduler = ComputeProcess.start(
            "compute.scheduler", self.folder / "scheduler", environment, "--port", "0"
        )
        self.address = self.scheduler.wait_for("listens on").split()[-1]
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        for process in (*self.flows, *self.workers, self.scheduler):
            process.kill()

    def start_worker(self, *arguments: str, version: str = "") -> ComputeProcess:
        """Start a worker of one thread, and return at once."""
        folder = self.folder / f"worker-{len(self.workers)}"
        environment = {
            **self.environment,
            "CODE_VERSION": version or self.version,
            "DASK_SCHEDULER": self.address,
            "DASK_WORKER_SECONDS": "20",
        }
        self.workers.append(ComputeProcess.start("compute.worker", folder, environment, "--threads", "1", *arguments))
        return self.workers[-1]

    def add_workers(self, count: int) -> None:
        """Start workers, and wait until they have joined."""
        for worker in [self.start_worker() for _ in range(count)]:
            worker.wait_for("joined")

    def start_flow(self, function: str, folder: Path) -> ComputeProcess:
        """Start a process that calls a function of `block_jobs` with a runner and the folder."""
        environment = {**self.environment, "CODE_VERSION": self.version, "DASK_SCHEDULER": self.address}
        started = ComputeProcess.start(
            "tests.integration.compute.block_jobs", folder / "flow", environment, function, str(folder)
        )
        self.flows.append(started)
        return started

    def settings(self, **values: object) -> Settings:
        defaults: dict[str, object] = {"code_version": self.version, "dask_scheduler": self.address}
        tls = {name.lower(): value for name, value in self.environment.items()}
        return Settings(**{**defaults, **tls, **values})  # type: ignore[arg-type]

    @contextmanager
    def runner(self, **values: object) -> Iterator[BlockRunner]:
        with open_block_runner(self.settings(**values)) as runner:
            yield runner


@contextmanager
def local_cluster(folder: Path, workers: int) -> Iterator[LocalCluster]:
    """A cluster with workers that have joined."""
    with ExitStack() as stack:
        cluster = stack.enter_context(LocalCluster(folder))
        cluster.add_workers(workers)
        yield cluster
