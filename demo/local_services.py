"""Prefect's server with its worker, and the serving API, on free ports, for as long as a block lasts."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.settings import load_settings
from demo.environment import ROOT, DemoError
from notifications.prefect_client import PrefectClient
from services import prefect_ui
from services.deploy import NotDeployed, answers, deploy
from services.local_services import LocalServices, Ports, PrefectCredentials, ServiceProcess, inherited_environment

_SECONDS_TO_START = 120.0
_FIRST = ("prefect-server", "serving")


@dataclass(frozen=True)
class RunningServices:
    """Where they are."""

    prefect: PrefectClient
    serving_url: str

    def runs(self, deployment: str) -> list[dict[str, Any]]:
        """The flow runs of a deployment such as retrain/on-degradation, in whatever state."""
        flow, _, name = deployment.partition("/")
        which = {"flows": {"name": {"any_": [flow]}}, "deployments": {"name": {"any_": [name]}}}
        runs: list[dict[str, Any]] = self.prefect.ask("POST", "flow_runs/filter", which)
        return runs


@contextmanager
def run_services(folder: Path, deployments: Sequence[str]) -> Iterator[RunningServices]:
    """Start them, with those deployments of `prefect.yaml` and no others. Raises DemoError.

    From then on PREFECT_API_URL names the server, for flows of this process too: so nothing may import Prefect before.
    """
    serving, server = free_ports(2)
    os.environ |= {"SERVING_PORT": str(serving), "PREFECT_SERVER_API_PORT": str(server)}
    plan = LocalServices(load_settings(), Ports(prefect_server_api_port=server), PrefectCredentials())
    programs = {program.name: program for program in plan.programs()}
    with ExitStack() as at_end:
        started = {name: at_end.enter_context(_process(plan, programs[name], folder)) for name in _FIRST}
        for name, process in started.items():
            _wait_for(programs[name], process)
        prefect_ui.confine(plan.settings.data_dir, plan.ui_api_url)
        os.environ["PREFECT_API_URL"] = f"{plan.prefect_url}/api"
        if plan.prefect_login:
            os.environ["PREFECT_API_AUTH_STRING"] = plan.prefect_login
        try:
            deploy(f"{plan.prefect_url}/api", deployments, login=plan.prefect_login)
        except NotDeployed as error:
            raise DemoError(f"the deployments were not made: {error}") from error
        at_end.enter_context(_process(plan, programs["worker"], folder))
        yield RunningServices(PrefectClient(f"{plan.prefect_url}/api", plan.prefect_login), plan.serving_url)


@contextmanager
def _process(plan: LocalServices, program: ServiceProcess, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    environment = inherited_environment() | plan.environment | program.environment
    with (folder / "logs" / f"{program.name}.log").open("w") as log:
        process = subprocess.Popen(program.command, cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT)
    try:
        yield process
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(program.seconds_to_stop)
        process.kill()
        process.wait()


def _wait_for(program: ServiceProcess, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + _SECONDS_TO_START
    while program.answers_at is not None and not answers(program.answers_at):
        if process.poll() is not None or time.monotonic() > until:
            raise DemoError(f"{program.name} does not start; see its log")
        time.sleep(0.3)


def free_ports(count: int) -> list[int]:
    """Ports of this machine that nobody has at this moment."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]
    finally:
        for one in sockets:
            one.close()
