"""Start, stop and show the services of this machine, or delete their state. `make` calls it."""

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
from core.settings import alert_urls_of
from core.temporary_files import keep_temporary_files_in
from core.terminal import prepare_terminal
from expectations.thresholds import load_thresholds
from services import prefect_ui, verification
from services.deploy import is_reachable
from services.local_services import (
    HOST,
    ROOT,
    WORK_POOL,
    LocalServices,
    ServiceProcess,
    inherited_environment,
    load_local_services,
)
from services.lost_runs import close_lost_runs
from services.prefect_database import check_databases
from services.supervision import CONFIGURATION, Supervisor, changed_settings, end, render

_SECONDS_TO_BE_READY = 120.0
_CACHES = (".mypy_cache", ".pytest_cache", ".ruff_cache", ".import_linter_cache")


class ServicesError(MoovitamixError):
    """The services cannot be started, stopped or cleaned."""


def up(services: LocalServices) -> None:
    """Start what does not run, wait until each part answers, deploy, and say where things are."""
    supervisor = Supervisor(services)
    if services.uses_mock_api:
        services.record_mock_base_day()
    programs = services.processes()
    running = bool(supervisor.states())
    if running:
        _refuse_other_settings(services, supervisor)
        supervisor.restart_stopped()
    else:
        if services.settings.embedded:
            embedded_postgres.check_user()
        end(supervisor.leftovers())
        _check_ports(programs)
        check_databases(programs)
        _start(services, supervisor, programs)
    try:
        for program in programs:
            if program.name == "worker":
                _close_lost_runs(services, first=not running)
            if not program.autostart:
                supervisor.start_process(program.name)
            _wait_for(services, program)
            if program.name == "prefect-server":
                prefect_ui.restrict_pages(services.settings.data_dir, services.ui_api_url)
        _step("deployments", lambda: _deploy(services))
        _step("worker online", lambda: _wait_for_worker(services))
    except BaseException:
        if not running:
            down(services, quietly=True)
        raise
    _tell(services)


def _start(services: LocalServices, supervisor: Supervisor, programs: Sequence[ServiceProcess]) -> None:
    try:
        shutil.rmtree(services.layout.worker_storage, ignore_errors=True)
        supervisor.start(programs)
    except subprocess.CalledProcessError as error:
        said = (error.stderr or error.stdout or "").strip().splitlines()
        raise ServicesError(f"the supervisor does not start: {said[-1] if said else error}") from error


def _refuse_other_settings(services: LocalServices, supervisor: Supervisor) -> None:
    """Raises ServicesError when the running services were started with other settings, and names these."""
    running = (services.layout.services / CONFIGURATION).read_text()
    if render(services, services.processes(), supervisor.socket) != running:
        changed = "; ".join(changed_settings(services)) or "the code or its folder"
        raise ServicesError(
            f"the services run with other settings than now ({changed}); stop them first: {_make('down', services)}"
        )


def _check_ports(programs: Sequence[ServiceProcess]) -> None:
    """Raises ServicesError naming the first port that another program has."""
    for program in programs:
        if program.port is None:
            continue
        try:
            refuse_port_in_use(HOST, program.port)
        except OSError as error:
            raise ServicesError(
                f"port {program.port}, for {program.name}, is in use ({error.strerror}): stop what uses it, "
                f"or choose another with {program.setting}"
            ) from error


def _wait_for(services: LocalServices, program: ServiceProcess) -> None:
    supervisor = Supervisor(services)

    def ready() -> bool:
        state = next((one.state for one in supervisor.states() if one.name == program.name), "GONE")
        if state in ("FATAL", "GONE"):
            raise ServicesError(f"{program.name} does not start; its log is {services.layout.log(program.name)}")
        return state == "RUNNING" and (program.health_url is None or is_reachable(program.health_url))

    def wait() -> None:
        if not _in_time(ready):
            raise ServicesError(
                f"{program.name} does not answer after {_SECONDS_TO_BE_READY:g} s; its log is "
                f"{services.layout.log(program.name)}"
            )

    _step(program.name, wait)


def _in_time(condition: Callable[[], bool]) -> bool:
    until = time.monotonic() + _SECONDS_TO_BE_READY
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(0.3)
    return True


def _close_lost_runs(services: LocalServices, *, first: bool) -> None:
    if not first:
        return
    try:
        lost = close_lost_runs(PrefectClient(f"{services.prefect_url}/api", services.prefect_login))
    except requests.RequestException as error:
        raise ServicesError(f"Prefect's server cannot say which runs are open: {type(error).__name__}") from error
    if lost:
        print(f"  {lost} flow run(s) that were cut off are marked as crashed", flush=True)


def _deploy(services: LocalServices) -> None:
    log = services.layout.log("deploy")
    with log.open("w") as output:
        done = subprocess.run(
            [sys.executable, "-m", "services.deploy"],
            cwd=ROOT,
            env=inherited_environment() | services.environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
        )
    if done.returncode:
        raise ServicesError(f"the deployments were not made; the log is {log}")


def _wait_for_worker(services: LocalServices) -> None:
    server = PrefectClient(f"{services.prefect_url}/api", services.prefect_login)

    def online() -> bool:
        with suppress(requests.RequestException):
            workers = server.ask("POST", f"work_pools/{WORK_POOL}/workers/filter", {})
            return any(worker["status"] == "ONLINE" for worker in workers)
        return False

    if not _in_time(online):
        raise ServicesError(f"the worker does not report to the server; its log is {services.layout.log('worker')}")


def _step(name: str, work: Callable[[], None]) -> None:
    print(f"  {name:<16}", end="", flush=True)
    begin = time.monotonic()
    try:
        work()
    except BaseException:
        print("not ready", flush=True)
        raise
    print(f"ready ({time.monotonic() - begin:.0f} s)", flush=True)


def _tell(services: LocalServices) -> None:
    lines = [
        "",
        f"Prefect      {services.prefect_url}",
        f"Data Docs    {services.docs_url}",
        f"Serving      {services.serving_url}/docs",
        f"Health       {services.serving_url}/dashboard",
        f"Alerts       {_alerted(services)}",
        f"API          {_first_page(services)}",
        f"Database     {_make('psql', services)}",
        f"Logs         {_short(services.layout.logs)}",
        "",
        "Run the daily ingest now, and watch it:",
        f"  {_direct()}{_login(services)}PREFECT_API_URL={services.prefect_url}/api"
        " .venv/bin/prefect deployment run ingest/daily --watch",
        "Make the key that the health page asks for as a password, of any user:",
        f"  {_data_dir(services)}.venv/bin/python -m serving.keys create --name on-call --scope dashboard:read",
        f"Stop everything; the state stays: {_make('down', services)}",
    ]
    print("\n".join(lines), flush=True)


def _first_page(services: LocalServices) -> str:
    """An address of the API that answers, without its login."""
    return (
        f"{services.api_url}/tracks?page=1 (the mock)"
        if services.uses_mock_api
        else f"{services.settings.source}/tracks?page=1"
    )


def _direct() -> str:
    """What goes before a command of Prefect's in a shell with proxies, which it would take to this machine too."""
    return "no_proxy='*' " if proxies.any_proxy_set() else ""


def _login(services: LocalServices) -> str:
    return "PREFECT_API_AUTH_STRING=user:password " if services.prefect_login else ""


def _alerted(services: LocalServices) -> str:
    """How many addresses alerts go to; never which, for they hold passwords."""
    count = len(alert_urls_of(services.settings))
    return f"to {count} address{'es' if count > 1 else ''}" if count else "to nobody (docs/notifications.md)"


def _make(target: str, services: LocalServices) -> str:
    """The command as a person would type it, with the settings that were given on the command line."""
    return f"make {target} {_data_dir(services)}".rstrip()


def _data_dir(services: LocalServices) -> str:
    """What goes before or after a command for it to mean this DATA_DIR."""
    default = Path(".data").resolve() == services.settings.data_dir
    return "" if default else f"DATA_DIR={shlex.quote(str(_short(services.settings.data_dir)))} "


def _short(path: Path) -> Path:
    with suppress(ValueError):
        return path.relative_to(Path.cwd())
    return path


def down(services: LocalServices, quietly: bool = False) -> None:
    """Stop all services of this DATA_DIR. Nothing to do when none runs."""
    supervisor = Supervisor(services)
    ran = bool(supervisor.states() or supervisor.leftovers())
    if ran and not quietly:
        print("stopping", flush=True)
    supervisor.stop(seconds=sum(program.seconds_to_stop for program in services.processes()))
    if (services.layout.postgres).exists():
        embedded_postgres.stop_if_unused(services.settings.data_dir)
    if not quietly:
        print(f"stopped; the state stays in {_short(services.settings.data_dir)}" if ran else "nothing runs")


def status(services: LocalServices) -> int:
    """Say what runs; 0 when everything does, 1 otherwise."""
    states = Supervisor(services).states()
    if not states:
        print(f"nothing runs; start with: {_make('up', services)}")
        return 1
    at = {program.name: program.health_url for program in services.processes()}
    for one in states:
        url = at.get(one.name)
        answering = "" if url is None else ("answers" if is_reachable(url) else "does not answer")
        print(f"  {one.name:<16}{one.state:<10}{answering:<17}{one.description}")
    return 0 if all(one.state == "RUNNING" for one in states) else 1


def clean(services: LocalServices) -> None:
    """Delete the state and the caches, and keep backups. Raises ServicesError while anything uses them."""
    supervisor = Supervisor(services)
    data_dir = services.settings.data_dir
    if supervisor.states() or supervisor.leftovers():
        raise ServicesError(f"services run; first stop them: {_make('down', services)}")
    if embedded_postgres.in_use(data_dir):
        raise ServicesError(f"a flow or another program uses the database in {data_dir}; wait for it")
    if not _looks_like_ours(data_dir):
        raise ServicesError(f"{data_dir} holds other things than our state; delete it by hand")
    kept = DataLayout(data_dir).backups
    verification.clear_leftovers(services.settings)
    for entry in data_dir.iterdir():
        if entry != kept:
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    if not kept.exists():
        data_dir.rmdir()
    for cache in (*(ROOT / name for name in _CACHES), *_bytecode()):
        shutil.rmtree(cache, ignore_errors=True)
    print(f"deleted {_short(data_dir)} and the caches{f'; kept {_short(kept)}' if kept.exists() else ''}")


def _looks_like_ours(data_dir: Path) -> bool:
    """A wrong DATA_DIR, such as a home folder, must not be emptied."""
    home = Path(os.path.expanduser("~"))  # stays "~" for a user without a home
    if ROOT.is_relative_to(data_dir) or home.is_relative_to(data_dir):
        return False
    return set(data_dir.iterdir()) <= set(DataLayout(data_dir).entries)


def _bytecode() -> list[Path]:
    folders = [entry for entry in ROOT.iterdir() if entry.is_dir() and not entry.name.startswith(".")]
    return [cache for folder in folders for cache in folder.rglob("__pycache__")]


@returns_exit_code
def main(arguments: Sequence[str] | None = None) -> int:
    """Do what is asked; an error with a name is one line. Exit 0, 1 or, for wrong settings, 2."""
    commands: dict[str, Callable[[LocalServices], Any]] = {"up": up, "down": down, "status": status, "clean": clean}
    parser = argparse.ArgumentParser(prog="python -m services", description=__doc__)
    parser.add_argument("command", choices=commands)
    prepare_terminal()
    asked = parser.parse_args(arguments)
    os.chdir(ROOT)
    # Services can be stopped also when DATA_DIR cannot be written any more.
    services = load_local_services(data_dir_is_written=asked.command in ("up", "clean"))
    if asked.command == "up":
        load_thresholds()  # flow runs read them: better an error now than in the night
        keep_temporary_files_in(services.settings.data_dir)
    with named_errors():
        return commands[asked.command](services) or 0


if __name__ == "__main__":
    sys.exit(run_main(main))
