"""The health check of Prefect's background services, with workers like theirs."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable

import pytest
from docket import Docket, Worker
from prefect.server.services.scheduler import schedule_deployments

from services.heartbeat import _NAME, _TASK, is_worker_alive
from tests.conftest import ROOT


async def _while_running(worker: Worker, check: Callable[[], Awaitable[bool]]) -> bool:
    """Return the result of a check after the first heartbeat of the worker."""
    running = asyncio.create_task(worker.run_forever())
    while not await worker.docket.workers():
        await asyncio.sleep(0.01)
    is_alive = await check()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    return is_alive


@pytest.mark.parametrize(
    ("name", "schedules", "counts"),
    [
        (None, True, True),
        (None, False, False),  # Prefect's API
        ("another#1", True, False),
        (f"{socket.gethostname()}s#1", True, False),
    ],
)
def test_only_the_scheduling_worker_of_this_host_counts(name: str | None, schedules: bool, counts: bool) -> None:
    async def check() -> tuple[bool, bool, bool]:
        host = socket.gethostname()
        async with (
            Docket(name=_NAME, url=f"memory://{name}-{schedules}") as docket,
            Worker(docket, name=name) as worker,
        ):
            if schedules:
                docket.register(schedule_deployments)
            before = await is_worker_alive(docket, host)
            during = await _while_running(worker, lambda: is_worker_alive(docket, host))
            return before, during, await is_worker_alive(docket, host)

    assert asyncio.run(check()) == (False, counts, False)


def test_task_name_is_that_of_prefect() -> None:
    assert schedule_deployments.__name__ == _TASK


def test_unreachable_redis_fails_without_its_password() -> None:
    url = "redis://:a-password@127.0.0.1:1/1"
    result = subprocess.run(
        [sys.executable, "-m", "services.heartbeat"],
        cwd=ROOT,
        env=os.environ | {"PREFECT_SERVER_DOCKET_URL": url},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    assert result.stderr == "Redis does not answer (ConnectionError)\n"
