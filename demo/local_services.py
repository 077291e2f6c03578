"""A Prefect server with a worker for models, and the serving API, on free ports for the duration of a `with` block."""

from __future__ import annotations

import os
import random
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.data_layout import DataLayout
from core.prefect_client import PrefectClient
from core.prefect_names import SECONDS_TO_START
from core.settings import load_settings
from demo.environment import ROOT, DemoError
from services import prefect_ui
from services.deploy import DeploymentError, deploy, is_reachable
from services.local_services import LocalServices, Ports, PrefectCredentials, ServiceProcess, inherited_environment

_BEFORE_WORKER = ("prefect-server", "serving")
# By default, systems give only higher ports to outgoing connections, which could take a port before a service listens.
_PORTS = range(20_000, 30_000)
_WORKER = "worker-models"  # the demos deploy only flows of its pool


@dataclass(frozen=True)
class RunningServices:
    """Clients and addresses of the running services."""

    prefect: PrefectClient
    serving_url: str

    def runs(self, deployment: str) -> list[dict[str, Any]]:
        """The flow runs of a deployment such as retrain/on-degradation, in any state, in the order of their start."""
        flow, _, name = deployment.partition("/")
        filters = {
            "flows": {"name": {"any_": [flow]}},
            "deployments": {"name": {"any_": [name]}},
            "sort": "START_TIME_ASC",
        }
        runs: list[dict[str, Any]] = self.prefect.ask("POST", "flow_runs/filter", filters)
        return runs


@contextmanager
def run_services(folder: Path, deployments: Sequence[str]) -> Iterator[RunningServices]:
    """Start the services with only these deployments of `prefect.yaml`. Raises DemoError.

    This sets PREFECT_API_URL for this process too. Do not import Prefect before.
    """
    serving, server = free_ports(2)
    os.environ |= {"SERVING_PORT": str(serving), "PREFECT_SERVER_API_PORT": str(server)}
    services = LocalServices(load_settings(), Ports(prefect_server_api_port=server), PrefectCredentials())
    processes = {process.name: process for process in services.processes()}
    with ExitStack() as stack:
        running = {name: stack.enter_context(run_process(services, processes[name], folder)) for name in _BEFORE_WORKER}
        for name, process in running.items():
            wait_until_ready(processes[name], process)
        prefect_ui.restrict_pages(services.settings.data_dir, services.ui_api_url)
        os.environ["PREFECT_API_URL"] = f"{services.prefect_url}/api"
        if services.prefect_login:
            os.environ["PREFECT_API_AUTH_STRING"] = services.prefect_login
        try:
            deploy(f"{services.prefect_url}/api", deployments, login=services.prefect_login)
        except DeploymentError as error:
            raise DemoError(f"deploying failed: {error}") from error
        stack.enter_context(run_process(services, processes[_WORKER], folder))
        yield RunningServices(
            PrefectClient(f"{services.prefect_url}/api", services.prefect_login), services.serving_url
        )


@contextmanager
def run_process(services: LocalServices, definition: ServiceProcess, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run one service for the duration of the block. Its log is in the folder."""
    environment = inherited_environment() | services.environment | definition.environment
    with DataLayout(folder).log(definition.name).open("w") as log:
        process = subprocess.Popen(definition.command, cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT)
    try:
        yield process
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(definition.seconds_to_stop)
        process.kill()
        process.wait()


def wait_until_ready(definition: ServiceProcess, process: subprocess.Popen[bytes]) -> None:
    """Wait until the health URL of a service answers, if it has one. Raises DemoError."""
    deadline = time.monotonic() + SECONDS_TO_START
    while definition.health_url is not None and not is_reachable(definition.health_url):
        if process.poll() is not None or time.monotonic() > deadline:
            raise DemoError(f"{definition.name} does not start; see logs/{definition.name}.log")
        time.sleep(0.3)


def free_ports(count: int) -> list[int]:
    """Ports of this machine that are free at the moment, below those of outgoing connections. Raises DemoError."""
    ports: list[int] = []
    for port in random.SystemRandom().sample(_PORTS, len(_PORTS)):
        with suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            ports.append(port)
        if len(ports) == count:
            return ports
    raise DemoError(f"fewer than {count} ports from {_PORTS.start} to {_PORTS.stop - 1} are free; close other programs")
