"""Start, stop or show the local services, or delete their state. `make` calls it."""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import requests

from core import embedded_postgres, proxies
from core.addresses import refuse_port_in_use
from core.data_layout import DataLayout
from core.errors import MoovitamixError, named_errors
from core.exit_codes import returns_exit_code, run_main
from core.prefect_client import PrefectClient
from core.prefect_names import SECONDS_TO_START
from core.settings import alert_urls_of
from core.temporary_files import keep_temporary_files_in
from core.terminal import prepare_terminal
from expectations.thresholds import load_thresholds
from services import prefect_ui, verification
from services.backup_file import display_path
from services.deploy import is_reachable
from services.local_services import (
    HOST,
    ROOT,
    WORKERS,
    LocalServices,
    ServiceProcess,
    inherited_environment,
    load_local_services,
)
from services.lost_runs import close_lost_runs
from services.prefect_database import check_databases
from services.supervision import CONFIGURATION, Supervisor, changed_settings, end, render

_CACHES = (".mypy_cache", ".pytest_cache", ".ruff_cache", ".import_linter_cache", ".clients")


class ServicesError(MoovitamixError):
    """The services cannot be started, stopped or cleaned."""


def up(services: LocalServices) -> None:
    """Start the services that do not run, wait until each answers, deploy, and print the addresses."""
    supervisor = Supervisor(services)
    if services.uses_mock_api:
        services.record_mock_base_day()
    processes = services.processes()
    running = bool(supervisor.states())
    if running:
        _refuse_other_settings(services, supervisor)
        supervisor.restart_stopped()
    else:
        if services.settings.embedded:
            embedded_postgres.check_user()
        end(supervisor.leftovers())
        _check_ports(processes)
        check_databases(processes)
        _start(services, supervisor, processes)
    try:
        for process in processes:
            if process.name == next(iter(WORKERS)) and not running:
                _close_lost_runs(services)
            if not process.autostart:
                supervisor.start_process(process.name)
            _wait_until_ready(services, process)
            if process.name == "prefect-server":
                prefect_ui.restrict_pages(services.settings.data_dir, services.ui_api_url)
        _step("deployments", lambda: _deploy(services))
        _step("workers online", lambda: _wait_for_workers(services))
    except BaseException:
        if not running:
            down(services, quietly=True)
        raise
    _print_addresses(services)


def _start(services: LocalServices, supervisor: Supervisor, processes: Sequence[ServiceProcess]) -> None:
    try:
        shutil.rmtree(services.layout.worker_storage, ignore_errors=True)
        supervisor.start(processes)
    except subprocess.CalledProcessError as error:
        output = (error.stderr or error.stdout or "").strip().splitlines()
        raise ServicesError(f"the supervisor does not start: {output[-1] if output else error}") from error


def _refuse_other_settings(services: LocalServices, supervisor: Supervisor) -> None:
    """Raise ServicesError if the running services have other settings. The message lists the differences."""
    running = (services.layout.services / CONFIGURATION).read_text()
    if render(services, services.processes(), supervisor.socket) != running:
        changed = "; ".join(changed_settings(services)) or "the code or its folder"
        raise ServicesError(
            f"the services run with other settings than now ({changed}); stop them first: {_make('down', services)}"
        )


def _check_ports(processes: Sequence[ServiceProcess]) -> None:
    """Raise ServicesError for the first port that cannot be used."""
    for process in processes:
        if process.port is None:
            continue
        try:
            refuse_port_in_use(HOST, process.port)
        except OSError as error:
            raise ServicesError(
                f"port {process.port}, for {process.name}, cannot be used ({error.strerror}): stop the program that "
                f"uses it, or choose another port with {process.setting}"
            ) from error


def _wait_until_ready(services: LocalServices, process: ServiceProcess) -> None:
    supervisor = Supervisor(services)

    def is_ready() -> bool:
        states = {supervised.name: supervised.state for supervised in supervisor.states()}
        state = states.get(process.name, "GONE")
        if state in ("FATAL", "GONE"):
            raise ServicesError(f"{process.name} does not start; its log is {services.layout.log(process.name)}")
        return state == "RUNNING" and (process.health_url is None or is_reachable(process.health_url))

    def wait() -> None:
        if not _wait_until(is_ready):
            raise ServicesError(
                f"{process.name} does not answer after {SECONDS_TO_START:g} s; its log is "
                f"{services.layout.log(process.name)}"
            )

    _step(process.name, wait)


def _wait_until(condition: Callable[[], bool]) -> bool:
    """Return whether the condition became true in time."""
    deadline = time.monotonic() + SECONDS_TO_START
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.3)
    return True


def _close_lost_runs(services: LocalServices) -> None:
    try:
        lost = close_lost_runs(PrefectClient(f"{services.prefect_url}/api", services.prefect_login))
    except requests.RequestException as error:
        raise ServicesError(f"Prefect's server does not list its open runs: {type(error).__name__}") from error
    if lost:
        print(f"  {lost} interrupted flow run(s) are marked as crashed", flush=True)


def _deploy(services: LocalServices) -> None:
    log = services.layout.log("deploy")
    with log.open("w") as output:
        process = subprocess.run(
            [sys.executable, "-m", "services.deploy"],
            cwd=ROOT,
            env=inherited_environment() | services.environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
        )
    if process.returncode:
        raise ServicesError(f"the deployments were not created; the log is {log}")


def _wait_for_workers(services: LocalServices) -> None:
    server = PrefectClient(f"{services.prefect_url}/api", services.prefect_login)

    def is_online(pool: str) -> bool:
        with suppress(requests.RequestException):
            workers = server.ask("POST", f"work_pools/{pool}/workers/filter", {})
            return any(worker["status"] == "ONLINE" for worker in workers)
        return False

    for name, pool in WORKERS.items():
        if not _wait_until(lambda pool=pool: is_online(pool)):  # type: ignore[misc]
            log = services.layout.log(name)
            raise ServicesError(f"the {name} does not report to the server; its log is {log}")


def _step(name: str, work: Callable[[], None]) -> None:
    print(f"  {name:<16}", end="", flush=True)
    started = time.monotonic()
    try:
        work()
    except BaseException:
        print("not ready", flush=True)
        raise
    print(f"ready ({time.monotonic() - started:.0f} s)", flush=True)


def _print_addresses(services: LocalServices) -> None:
    lines = [
        "",
        f"Prefect      {services.prefect_url}",
        f"Data Docs    {services.docs_url}",
        f"Serving      {services.serving_url}/docs",
        f"Health       {services.serving_url}/dashboard",
        f"Alerts       {_recipients(services)}",
        f"API          {_first_page(services)}",
        f"Database     {_make('psql', services)}",
        f"Logs         {display_path(services.layout.logs)}",
        "",
        "Run the daily ingest now, and watch it:",
        f"  {_no_proxy()}{_login(services)}PREFECT_API_URL={services.prefect_url}/api"
        " .venv/bin/prefect deployment run ingest/daily --watch",
        "Create a key for the health page. Enter it as the password, with any user name:",
        f"  {_data_dir(services)}.venv/bin/python -m serving.keys create --name on-call --scope dashboard:read",
        f"Stop all services; the data stay: {_make('down', services)}",
    ]
    print("\n".join(lines), flush=True)


def _first_page(services: LocalServices) -> str:
    """Return the URL of a page of the source API, without a login."""
    return (
        f"{services.api_url}/tracks?page=1 (the mock)"
        if services.uses_mock_api
        else f"{services.settings.source}/tracks?page=1"
    )


def _no_proxy() -> str:
    """Return the prefix of a Prefect command in a shell with proxies, which Prefect would use for this machine too."""
    return "no_proxy='*' " if proxies.any_proxy_set() else ""


def _login(services: LocalServices) -> str:
    return "PREFECT_API_AUTH_STRING=user:password " if services.prefect_login else ""


def _recipients(services: LocalServices) -> str:
    """Return how many addresses receive notifications. The addresses contain passwords, so they are not printed."""
    count = len(alert_urls_of(services.settings))
    return f"to {count} address{'es' if count > 1 else ''}" if count else "to nobody (docs/notifications.md)"


def _make(target: str, services: LocalServices) -> str:
    """Return the `make` command for this DATA_DIR."""
    return f"make {target} {_data_dir(services)}".rstrip()


def _data_dir(services: LocalServices) -> str:
    """Return the assignment that a command needs for this DATA_DIR; empty for the default."""
    is_default = Path(".data").resolve() == services.settings.data_dir
    return "" if is_default else f"DATA_DIR={shlex.quote(str(display_path(services.settings.data_dir)))} "


def down(services: LocalServices, quietly: bool = False) -> None:
    """Stop all services of this DATA_DIR, if any."""
    supervisor = Supervisor(services)
    was_running = bool(supervisor.states() or supervisor.leftovers())
    if was_running and not quietly:
        print("stopping", flush=True)
    supervisor.stop(seconds=sum(process.seconds_to_stop for process in services.processes()))
    if services.layout.postgres.exists():
        embedded_postgres.stop_if_unused(services.settings.data_dir)
    if not quietly:
        data_dir = display_path(services.settings.data_dir)
        print(f"stopped; the data stay in {data_dir}" if was_running else "no service runs")


def status(services: LocalServices) -> int:
    """Show the state of each service. Return 0 if all run, otherwise 1."""
    processes = Supervisor(services).states()
    if not processes:
        print(f"no service runs; start with: {_make('up', services)}")
        return 1
    health_urls = {process.name: process.health_url for process in services.processes()}
    for process in processes:
        url = health_urls.get(process.name)
        answer = "" if url is None else ("answers" if is_reachable(url) else "does not answer")
        print(f"  {process.name:<16}{process.state:<10}{answer:<17}{process.description}")
    return 0 if all(process.state == "RUNNING" for process in processes) else 1


def clean(services: LocalServices) -> None:
    """Delete the data and the caches, and keep the backups. Raises ServicesError while they are in use."""
    supervisor = Supervisor(services)
    data_dir = services.settings.data_dir
    if supervisor.states() or supervisor.leftovers():
        raise ServicesError(f"services run; first stop them: {_make('down', services)}")
    if embedded_postgres.in_use(data_dir):
        raise ServicesError(f"a flow or another program uses the database in {data_dir}; wait for it")
    if not _is_data_dir(data_dir):
        raise ServicesError(f"{data_dir} contains files that are not of MoovitaMix; delete it by hand")
    backups = DataLayout(data_dir).backups
    verification.clear_leftovers(services.settings)
    for entry in data_dir.iterdir():
        if entry != backups:
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    if not backups.exists():
        data_dir.rmdir()
    for cache in (*(ROOT / name for name in _CACHES), *_bytecode()):
        shutil.rmtree(cache, ignore_errors=True)
    backups_note = f"; kept {display_path(backups)}" if backups.exists() else ""
    print(f"deleted {display_path(data_dir)} and the caches{backups_note}")


def _is_data_dir(folder: Path) -> bool:
    """Whether a folder contains only files of MoovitaMix. A wrong DATA_DIR, such as a home folder, is not emptied."""
    home = Path(os.path.expanduser("~"))  # stays "~" for a user without a home
    if ROOT.is_relative_to(folder) or home.is_relative_to(folder):
        return False
    return set(folder.iterdir()) <= set(DataLayout(folder).entries)


def _bytecode() -> list[Path]:
    folders = [entry for entry in ROOT.iterdir() if entry.is_dir() and not entry.name.startswith(".")]
    return [cache for folder in folders for cache in folder.rglob("__pycache__")]


@returns_exit_code
def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command, and return the exit code: 0, 1, or 2 for wrong settings. An error is one line."""
    commands: dict[str, Callable[[LocalServices], Any]] = {"up": up, "down": down, "status": status, "clean": clean}
    parser = argparse.ArgumentParser(prog="python -m services", description=__doc__)
    parser.add_argument("command", choices=commands)
    prepare_terminal()
    command = parser.parse_args(arguments).command
    os.chdir(ROOT)
    # `down` and `status` work without write access to DATA_DIR.
    services = load_local_services(data_dir_is_written=command in ("up", "clean"))
    if command == "up":
        load_thresholds()  # flow runs need them: report an error now, not at night
        keep_temporary_files_in(services.settings.data_dir)
    with named_errors():
        return commands[command](services) or 0


if __name__ == "__main__":
    sys.exit(run_main(main))
