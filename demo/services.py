"""`make demo-up`: console, Data Docs and Prefect's UI with the state of `make demo`, at the time of its last day.

Nothing runs on a schedule, and no source is read. Ctrl-C stops everything, with exit code 130. Exit code 1: there is no
demo, or a service does not start.
"""

from __future__ import annotations

import argparse
import os
import sys
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from core.clock import clock_of
from core.data_layout import DataLayout
from core.database import connect, ensure_database, migrate
from core.exit_codes import returns_exit_code, run_main
from core.settings import load_settings
from core.terminal import prepare_terminal
from demo.environment import DemoError, isolate_settings
from demo.local_services import free_ports, run_process, wait_until_ready
from services import prefect_ui
from services.local_services import LocalServices, Ports, PrefectCredentials, ServiceProcess
from serving import keys

# The demo of four weeks: its runs are in Prefect's database, and it leaves its clock.
DEMO = "weeks"
_SERVICES = ("postgres", "data-docs", "serving", "prefect-server")
_KEY = "demo-up"


def planned_services(services: LocalServices) -> list[ServiceProcess]:
    """Return the processes of the demo, in the order in which they start: no worker, no source and no watchdog."""
    return [process for process in services.processes() if process.name in _SERVICES]


def demo_folder(data_dir: Path) -> Path:
    """Return the folder of the finished demo below DATA_DIR. Raises DemoError if there is none."""
    folder = DataLayout(data_dir).demo(DEMO)
    if not DataLayout(folder).postgres_version.exists() or not clock_file(folder).exists():
        raise DemoError("there is no demo to show; run `make demo` first")
    return folder


def clock_file(folder: Path) -> Path:
    """Return the file with the time of the demo, which its last day leaves."""
    return folder / "clock"


def addresses(services: LocalServices) -> list[tuple[str, str]]:
    """Return what a person opens, with its URL."""
    return [
        ("Console", f"{services.serving_url}/console"),
        ("Data Docs", services.docs_url),
        ("Prefect", services.prefect_url),
    ]


def _prepare(folder: Path) -> LocalServices:
    """Use only the settings of the demo, on free ports. Return its services."""
    isolate_settings(folder, CLOCK_FILE=str(clock_file(folder)))
    DataLayout(folder).logs.mkdir(exist_ok=True)
    serving, server, docs = free_ports(3)
    os.environ |= {"SERVING_PORT": str(serving), "PREFECT_SERVER_API_PORT": str(server), "DATA_DOCS_PORT": str(docs)}
    return LocalServices(
        load_settings(), Ports(prefect_server_api_port=server, data_docs_port=docs), PrefectCredentials()
    )


def _create_key(services: LocalServices) -> str:
    """Create a key for the console of the demo, in place of an earlier one."""
    url = ensure_database(services.settings)
    migrate(url)
    with connect(url) as connection:
        return keys.create(connection, _KEY, ("dashboard:read", "console:read"), clock_of(services.settings)()).text


@returns_exit_code
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the services until Ctrl-C. Returns the exit code."""
    prepare_terminal()
    argparse.ArgumentParser(prog="python -m demo.services", description=__doc__).parse_args(arguments)
    services = _prepare(demo_folder(load_settings().data_dir))
    with ExitStack() as stack:
        for process in planned_services(services):
            print(f"  {process.name}", flush=True)
            wait_until_ready(process, stack.enter_context(run_process(services, process, services.settings.data_dir)))
            if process.name == "prefect-server":
                prefect_ui.restrict_pages(services.settings.data_dir, services.ui_api_url)
        print(f"\nThe demo at {clock_of(services.settings)():%Y-%m-%d %H:%M} UTC. Ctrl-C stops it.", flush=True)
        for name, url in addresses(services):
            print(f"  {name:<12}{url}", flush=True)
        print(f"  {'Key':<12}{_create_key(services)}", flush=True)
        threading.Event().wait()
    return 0


if __name__ == "__main__":
    sys.exit(run_main(main))
