"""The environment of a demo: an empty data folder, isolated settings, the mock API, and a log file for all output."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import requests
from rich.console import Console

from core import embedded_postgres
from core.data_layout import DataLayout
from core.errors import MoovitamixError
from core.exit_codes import STOPPED, exit_code_and_message
from core.settings import Settings, load_settings
from core.temporary_files import keep_temporary_files_in
from expectations.thresholds import Thresholds

ROOT = Path(__file__).parent.parent
_READY = "mock API ready: "
_TIMEOUT = 30.0


class DemoError(MoovitamixError):
    """The demo cannot run, or its result is not the expected one."""


def create_empty_folder(name: str = "demo") -> Path:
    """Empty the folder of this name below DATA_DIR. Raises DemoError if another demo uses it; SettingsError."""
    folder = DataLayout(load_settings().data_dir).demo(name)
    if DataLayout(folder).postgres.exists():
        embedded_postgres.stop_if_unused(folder)
        if embedded_postgres.in_use(folder):
            raise DemoError(f"the database of an earlier demo in {folder} is in use; close its connections first")
    shutil.rmtree(folder, ignore_errors=True)
    DataLayout(folder).logs.mkdir(parents=True)
    return folder


def isolate_settings(folder: Path, **settings: str) -> None:
    """Use only the defaults and these settings, so that `.env` and the environment cannot change the demo."""
    names = [*Settings.model_fields, *(f"threshold_{name}" for name in Thresholds.model_fields)]
    for name in list(os.environ):
        if name.lower() in names or name.startswith("PREFECT_"):
            del os.environ[name]
    os.environ |= {
        "DATA_DIR": str(folder),
        "PREFECT_LOGGING_LEVEL": "INFO",  # the progress bar reads these log lines
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
        "PYTHONPATH": str(ROOT),
        **settings,
    }
    keep_temporary_files_in(folder)
    sys.path.insert(0, str(ROOT))
    os.chdir(folder)


@contextmanager
def redirect_output(log: Path) -> Iterator[Console]:
    """Write all output, that of child processes too, to the log. Yield a console that prints to the terminal."""
    screen = os.dup(1)
    with open(log, "w") as file, os.fdopen(os.dup(screen), "w") as terminal:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        console = Console(file=terminal, highlight=False)
        if not console.is_terminal:
            console.width = 130
        yield console
        # Standard output stays redirected: processes that end later must not print to the terminal.


def run_and_report(console: Console, run: Callable[[], None], logs: Path) -> int:
    """Run the demo and print how it ended. Returns the exit code."""
    begin = time.monotonic()
    try:
        run()
    except (Exception, KeyboardInterrupt) as error:
        code, message = exit_code_and_message(error)
        console.print(f"\n{message}", style="bold red", markup=False)
        if code != STOPPED:
            logging.getLogger(__name__).exception("the demo failed")
            console.print(f"see the log in {logs}", markup=False)
        return code
    console.print(f"\nEvery result is as expected ({time.monotonic() - begin:.0f} s).")
    return 0


@contextmanager
def mock_api(first_day: str, *options: str) -> Iterator[MockApiClient]:
    """Run the mock API on a free port for the duration of the block. Raises DemoError."""
    command = [
        sys.executable,
        "-m",
        "mock_server",
        "--port",
        "0",
        "--day",
        first_day,
        "--base-day",
        first_day,
        *options,
    ]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        line = next((text for text in process.stdout or () if _READY in text), None)
        if line is None:
            raise DemoError("the mock API does not start")
        url = line.partition(_READY)[2].strip()
        os.environ["MOOVITAMIX_API_URL"] = url
        yield MockApiClient(url)
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(10)
        process.kill()


class MockApiClient:
    """A client of the control endpoints of the mock API."""

    def __init__(self, url: str) -> None:
        self._url = url

    def feedback(self, shown: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """For each user, whether they call each track they were shown useful."""
        response = requests.post(f"{self._url}/_control/answers", json=shown, timeout=_TIMEOUT)
        response.raise_for_status()
        feedback: list[dict[str, Any]] = response.json()
        return feedback

    def start_sessions(self, request: dict[str, Any]) -> list[dict[str, Any]]:
        """Let users start sessions now. Returns them, as rows of /listen_history."""
        response = requests.post(f"{self._url}/_control/plays", json=request, timeout=_TIMEOUT)
        response.raise_for_status()
        sessions: list[dict[str, Any]] = response.json()
        return sessions

    def set_day_and_faults(self, day: str, faults: list[dict[str, Any]]) -> None:
        """Set the simulated day and replace all faults."""
        requests.post(f"{self._url}/_control/day", json={"day": day}, timeout=_TIMEOUT).raise_for_status()
        requests.put(f"{self._url}/_control/faults", json=faults, timeout=_TIMEOUT).raise_for_status()
