"""The health check of Prefect's background services, against workers of the kind that they are."""

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


async def _while_running(worker: Worker, ask: Callable[[], Awaitable[bool]]) -> bool:
    """What is said at the worker's first sign of life."""
    running = asyncio.create_task(worker.run_forever())
    while not await worker.docket.workers():
        await asyncio.sleep(0.01)
    heard = await ask()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    return heard


@pytest.mark.parametrize(
    ("named", "schedules", "heard"),
    [
        (None, True, True),
        (None, False, False),  # Prefect's API
        ("another#1", True, False),
        (f"{socket.gethostname()}s#1", True, False),
    ],
)
def test_the_worker_of_this_host_that_schedules_is_heard(named: str | None, schedules: bool, heard: bool) -> None:
    async def listen() -> tuple[bool, bool, bool]:
        host = socket.gethostname()
        async with (
            Docket(name=_NAME, url=f"memory://{named}-{schedules}") as docket,
            Worker(docket, name=named) as worker,
        ):
            if schedules:
                docket.register(schedule_deployments)
            before = await is_worker_alive(docket, host)
            during = await _while_running(worker, lambda: is_worker_alive(docket, host))
            return before, during, await is_worker_alive(docket, host)

    assert asyncio.run(listen()) == (False, heard, False)


def test_prefect_still_names_what_is_listened_for() -> None:
    assert schedule_deployments.__name__ == _TASK


def test_without_redis_it_is_not_well_and_says_no_password() -> None:
    url = "redis://:a-password@127.0.0.1:1/1"
    done = subprocess.run(
        [sys.executable, "-m", "services.heartbeat"],
        cwd=ROOT,
        env=os.environ | {"PREFECT_SERVER_DOCKET_URL": url},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr == "Redis does not answer (ConnectionError)\n"
