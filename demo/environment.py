"""What the demo runs in: a folder of its own, the mock API on a free port, and a log for all that is not for people."""

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
from core.errors import MoovitamixError
from core.settings import Settings, load_settings
from core.temporary_files import keep_temporary_files_in
from expectations.thresholds import Thresholds

ROOT = Path(__file__).parent.parent
_READY = "mock API ready: "
_TIMEOUT = 30.0


class DemoError(MoovitamixError):
    """The demo cannot run, or something else came of it than must."""


def create_empty_folder(name: str = "demo") -> Path:
    """An empty folder of that name below DATA_DIR. Raises DemoError while another demo uses it, SettingsError."""
    folder = load_settings().data_dir / name
    if (folder / "postgres").exists():
        embedded_postgres.stop_if_unused(folder)
        if embedded_postgres.in_use(folder):
            raise DemoError(f"the database of an earlier demo in {folder} is in use; close it first")
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "logs").mkdir(parents=True)
    return folder


def isolate_settings(folder: Path, **settings: str) -> None:
    """Make the folder the only source of settings: nobody's `.env` or environment changes what the demo shows."""
    ours = [*Settings.model_fields, *(f"threshold_{name}" for name in Thresholds.model_fields)]
    for name in list(os.environ):
        if name.lower() in ours or name.startswith("PREFECT_"):
            del os.environ[name]
    os.environ |= {
        "DATA_DIR": str(folder),
        "PREFECT_LOGGING_LEVEL": "INFO",  # for the log, and for the progress that is read from it
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
        "PYTHONPATH": str(ROOT),
        **settings,
    }
    keep_temporary_files_in(folder)
    sys.path.insert(0, str(ROOT))
    os.chdir(folder)


@contextmanager
def redirect_output(log: Path) -> Iterator[Console]:
    """Send what anybody prints to the log, child processes too; what is for people goes to the console given."""
    screen = os.dup(1)
    with open(log, "w") as file, os.fdopen(os.dup(screen), "w") as people:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        console = Console(file=people, highlight=False)
        if not console.is_terminal:
            console.width = 130
        yield console
        # Standard output stays with the log: what ends after us has nothing to tell people.


def run_and_report(console: Console, story: Callable[[], None], logs: Path) -> int:
    """Let the story happen, and say how it ended; returns the exit code."""
    begin = time.monotonic()
    try:
        story()
    except KeyboardInterrupt:
        console.print("stopped")
        return 130
    except Exception as error:  # people get one line, the log gets the rest
        logging.getLogger(__name__).exception("the demo failed")
        known = isinstance(error, MoovitamixError)
        console.print(f"\nerror: {error if known else type(error).__name__}", style="bold red", markup=False)
        console.print(f"the log is in {logs}", markup=False)
        return 1
    console.print(f"\nAs it should be, in {time.monotonic() - begin:.0f} s.")
    return 0


@contextmanager
def mock_api(first_day: str, *world: str) -> Iterator[MockApiClient]:
    """The mock API on a free port, for as long as the block lasts. Raises DemoError."""
    command = [sys.executable, "-m", "mock_server", "--port", "0", "--day", first_day, "--base-day", first_day, *world]
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
    """Turns days and faults of the running mock."""

    def __init__(self, url: str) -> None:
        self._url = url

    def useful(self, shown: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Which of the tracks shown to them listeners call useful."""
        answer = requests.post(f"{self._url}/_control/answers", json=shown, timeout=_TIMEOUT)
        answer.raise_for_status()
        said: list[dict[str, Any]] = answer.json()
        return said

    def turn(self, day: str, faults: list[dict[str, Any]]) -> None:
        """Make it that day, with those faults and no others."""
        requests.post(f"{self._url}/_control/day", json={"day": day}, timeout=_TIMEOUT).raise_for_status()
        requests.put(f"{self._url}/_control/faults", json=faults, timeout=_TIMEOUT).raise_for_status()
