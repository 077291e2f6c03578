"""The services of `make up`, for real, on other ports and in a folder of their own."""

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
from tests.e2e.mailbox import Mailbox

ROOT = Path(__file__).parent.parent.parent
# The mock asks for none: it is there to be searched for.
API_TOKEN = "open-sesame-4711-and-nobody-else"
LOGIN = "operator:knock-thrice-0815-and-wait"
# A corporate shell, with proxies that nothing of this machine may take: nobody listens there.
PROXY_PASSWORD = "proxy-4242-and-nobody-behind"
CORPORATE = {
    "HTTP_PROXY": f"http://somebody:{PROXY_PASSWORD}@127.0.0.1:9",
    "https_proxy": "127.0.0.1:9",
    "ALL_PROXY": "socks5h://127.0.0.1:9",
}


@dataclass(frozen=True)
class Services:
    """The services of one test run."""

    environment: dict[str, str]
    plan: LocalServices
    mailbox: Mailbox

    def make(self, target: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "services", target],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )

    def states(self) -> dict[str, tuple[str, int]]:
        return {one.name: (one.state, one.pid) for one in Supervisor(self.plan).states()}

    def run(self, deployment: str, **parameters: str) -> int:
        given = [word for name, value in parameters.items() for word in ("--param", f"{name}={value}")]
        command = [sys.executable, "-m", "prefect", "deployment", "run", deployment, "--watch", *given]
        environment = self.environment | {"no_proxy": "*"}  # as README says
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, check=False, timeout=120)
        return done.returncode

    def flow_runs(self) -> dict[str, str]:
        return {run["name"]: run["state_type"] for run in self.ask("flow_runs/filter", {})}

    def ask(self, what: str, content: dict[str, Any]) -> Any:
        return PrefectClient(f"{self.plan.prefect_url}/api", LOGIN).ask("POST", what, content)

    def get(self, what: str) -> Any:
        return PrefectClient(f"{self.plan.prefect_url}/api", LOGIN).ask("GET", what)

    def published(self) -> int:
        with psycopg.connect(
            f"postgresql://postgres@/postgres?host={self.plan.settings.data_dir}/postgres"
        ) as database:
            row = database.execute("select count(*) from warehouse.listen_history").fetchone()
        assert row is not None
        return int(row[0])

    def our_processes(self) -> list[psutil.Process]:
        return Supervisor(self.plan).leftovers()


@pytest.fixture(scope="module")
def services() -> Iterator[Services]:
    # Not below pytest's own temporary folder: every pytest of this user that starts closes it for Postgres's user.
    with TemporaryDirectory(prefix="moovitamix-services-", ignore_cleanup_errors=True) as folder:
        yield from _services_in(folder)


def _services_in(folder: str) -> Iterator[Services]:
    *free, mail_port = free_ports(5)
    ports = dict(zip(("PREFECT_SERVER_API_PORT", "MOCK_PORT", "DATA_DOCS_PORT", "SERVING_PORT"), free, strict=True))
    mailbox = Mailbox(mail_port)
    ours = {name: str(port) for name, port in ports.items()} | {"DATA_DIR": folder, "MOOVITAMIX_API_TOKEN": API_TOKEN}
    ours |= {"PREFECT_SERVER_API_AUTH_STRING": LOGIN, "ALERT_URLS": mailbox.url}
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")} | ours
    with pytest.MonkeyPatch.context() as patch:
        for name, value in ours.items():
            patch.setenv(name, value)
        patch.delenv("MOOVITAMIX_API_URL", raising=False)
        plan = load_local_services()
    environment |= {"PREFECT_API_URL": f"{plan.prefect_url}/api", "PREFECT_HOME": f"{folder}/prefect"}
    environment |= {"PREFECT_API_AUTH_STRING": LOGIN} | CORPORATE
    environment.pop("MOOVITAMIX_API_URL", None)
    started = Services(environment, plan, mailbox)
    mailbox.open()
    try:
        done = started.make("up")
        assert done.returncode == 0, done.stdout + done.stderr
        yield started
    finally:
        started.make("down")
        mailbox.close()
