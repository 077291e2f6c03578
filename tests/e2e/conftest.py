"""The real services of `make up`, on other ports and in their own folder."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil
import psycopg
import pytest

from core.prefect_client import PrefectClient
from demo.local_services import free_ports
from services.local_services import LocalServices, load_local_services
from services.supervision import Supervisor
from tests.conftest import PORTS
from tests.e2e.mailbox import Mailbox

ROOT = Path(__file__).parent.parent.parent
# The mock API needs no token. Tests check that this one does not appear in any output.
API_TOKEN = "open-sesame-4711-secret-token"
LOGIN = "operator:knock-thrice-0815-and-wait"
# Proxy variables of a corporate shell. No proxy listens there, so local connections must not use them.
PROXY_PASSWORD = "proxy-4242-password"
PROXY_VARIABLES = {
    "HTTP_PROXY": f"http://user:{PROXY_PASSWORD}@127.0.0.1:9",
    "https_proxy": "127.0.0.1:9",
    "ALL_PROXY": "socks5h://127.0.0.1:9",
}


@dataclass(frozen=True)
class Services:
    """The services of one test run."""

    environment: dict[str, str]
    local_services: LocalServices
    mailbox: Mailbox

    def make(self, target: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "services", target],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=1200,
        )

    def states(self) -> dict[str, tuple[str, int]]:
        return {process.name: (process.state, process.pid) for process in Supervisor(self.local_services).states()}

    def run(self, deployment: str, **parameters: str) -> int:
        options = [word for name, value in parameters.items() for word in ("--param", f"{name}={value}")]
        command = [sys.executable, "-m", "prefect", "deployment", "run", deployment, "--watch", *options]
        environment = self.environment | {"no_proxy": "*"}  # as the README says
        result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, check=False, timeout=600)
        return result.returncode

    def flow_runs(self) -> dict[str, str]:
        return {run["name"]: run["state_type"] for run in self.ask("flow_runs/filter", {})}

    def ask(self, path: str, content: dict[str, Any]) -> Any:
        return PrefectClient(f"{self.local_services.prefect_url}/api", LOGIN).ask("POST", path, content)

    def get(self, path: str) -> Any:
        return PrefectClient(f"{self.local_services.prefect_url}/api", LOGIN).ask("GET", path)

    def published_sessions(self) -> int:
        with psycopg.connect(
            f"postgresql://postgres@/postgres?host={self.local_services.settings.data_dir}/postgres"
        ) as database:
            row = database.execute("select count(*) from warehouse.listen_history").fetchone()
        assert row is not None
        return int(row[0])

    def processes(self) -> list[psutil.Process]:
        return Supervisor(self.local_services).leftovers()


@pytest.fixture(scope="module")
def services() -> Iterator[Services]:
    # Postgres's user cannot enter pytest's own temporary folder.
    with TemporaryDirectory(prefix="moovitamix-services-", ignore_cleanup_errors=True) as folder:
        yield from _services_in(folder)


def _services_in(folder: str) -> Iterator[Services]:
    *service_ports, mail_port = free_ports(len(PORTS) + 1)
    ports = dict(zip(PORTS, service_ports, strict=True))
    mailbox = Mailbox(mail_port)
    settings = {name: str(port) for name, port in ports.items()} | {
        "DATA_DIR": folder,
        "MOOVITAMIX_API_TOKEN": API_TOKEN,
    }
    settings |= {"PREFECT_SERVER_API_AUTH_STRING": LOGIN, "ALERT_URLS": mailbox.url}
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")} | settings
    with pytest.MonkeyPatch.context() as patch:
        for name, value in settings.items():
            patch.setenv(name, value)
        patch.delenv("MOOVITAMIX_API_URL", raising=False)
        local_services = load_local_services()
    environment |= {"PREFECT_API_URL": f"{local_services.prefect_url}/api", "PREFECT_HOME": f"{folder}/prefect"}
    environment |= {"PREFECT_API_AUTH_STRING": LOGIN} | PROXY_VARIABLES
    environment.pop("MOOVITAMIX_API_URL", None)
    services = Services(environment, local_services, mailbox)
    mailbox.open()
    try:
        result = services.make("up")
        assert result.returncode == 0, result.stdout + result.stderr
        yield services
    finally:
        services.make("down")
        mailbox.close()
