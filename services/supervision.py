"""The supervisor that keeps the programs running: its configuration, its start and stop, and what it says of them."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xmlrpc.client import Fault, ServerProxy

import psutil
from pydantic import SecretStr
from supervisor.xmlrpc import SupervisorTransport

from services.plan import MARK, ROOT, Plan, Program, inherited_environment

_SOCKET_PATH_LIMIT = 100
# A program that crashes at once is started again and again, a second later each time.
_START_TRIES = 100
_READ_AT_START = ("alert_", "serving_", "prefect_ui_")
# Who guesses a password by its fingerprint shall need long for each try.
_ROUNDS = 100_000


@dataclass(frozen=True)
class ProgramState:
    """What the supervisor says of one program, such as RUNNING."""

    name: str
    state: str
    pid: int
    description: str


@dataclass(frozen=True)
class Supervisor:
    """The supervisor of one plan, whether it runs or not."""

    plan: Plan

    @property
    def socket(self) -> Path:
        """Elsewhere than the state if its path is too long for a socket."""
        path = self.plan.state / "supervisor.sock"
        if len(os.fsencode(path)) <= _SOCKET_PATH_LIMIT:
            return path
        name = hashlib.sha256(os.fsencode(path)).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"moovitamix-{name}.sock"

    def states(self) -> list[ProgramState]:
        """One entry a program; none when the supervisor does not run."""
        try:
            with self._ask() as supervisor:
                answers: Any = supervisor.getAllProcessInfo()
        except (OSError, Fault):
            return []
        return [ProgramState(a["name"], a["statename"], a["pid"], a["description"]) for a in answers]

    def start(self, programs: Sequence[Program]) -> None:
        """Start it with all programs. Raises CalledProcessError."""
        self.plan.state.mkdir(parents=True, exist_ok=True)
        self.plan.logs.mkdir(parents=True, exist_ok=True)
        configuration = self.plan.state / "supervisord.conf"
        configuration.write_text(render(self.plan, programs, self.socket))
        subprocess.run(
            [sys.executable, "-m", "supervisor.supervisord", "-c", str(configuration)],
            cwd=ROOT,
            env=inherited_environment() | self.plan.environment,
            check=True,
            capture_output=True,
            text=True,
        )

    def start_again(self) -> None:
        """Start the programs that were given up or stopped by hand."""
        for program in self.states():
            if program.state not in ("RUNNING", "STARTING", "BACKOFF"):
                self.start_program(program.name)

    def start_program(self, name: str) -> None:
        """Start one that does not start by itself. Harmless when it runs."""
        with suppress(Fault), self._ask() as supervisor:
            supervisor.startProcess(name, False)

    def stop(self, seconds: float) -> None:
        """Stop every program, last first, then itself; then what a killed supervisor had left behind."""
        with suppress(OSError, Fault), self._ask() as supervisor:
            supervisor.shutdown()
        until = time.monotonic() + seconds
        while self.states() and time.monotonic() < until:
            time.sleep(0.2)
        end(self.leftovers())

    def leftovers(self) -> list[psutil.Process]:
        """Processes of our services that nobody supervises; not Postgres, which its last user stops."""
        mine = []
        for process in psutil.process_iter():
            with suppress(psutil.Error, OSError):
                marked = process.environ().get(MARK) == str(self.plan.settings.data_dir)
                if marked and process.pid != os.getpid() and "postgres" not in process.name():
                    mine.append(process)
        return mine

    @contextmanager
    def _ask(self) -> Iterator[Any]:
        transport = SupervisorTransport(serverurl=f"unix://{self.socket}")
        with ServerProxy("http://supervisor", transport=transport) as proxy:
            yield proxy.supervisor


def end(processes: Sequence[psutil.Process]) -> None:
    """Ask the processes to end, then make them."""
    for process in processes:
        with suppress(psutil.Error):
            process.terminate()
    _, alive = psutil.wait_procs(processes, timeout=20)
    for process in alive:
        with suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(alive, timeout=5)


def render(plan: Plan, programs: Sequence[Program], socket: Path) -> str:
    """The supervisor's configuration."""
    sections = [
        f"; {_fingerprint(plan)} are the settings that programs read when they start\n",
        _section("unix_http_server", file=socket, chmod="0700"),
        _section(
            "supervisord",
            logfile=plan.logs / "supervisord.log",
            logfile_maxbytes="5MB",
            logfile_backups=1,
            pidfile=plan.state / "supervisord.pid",
            childlogdir=plan.logs,
            directory=ROOT,
        ),
        "[rpcinterface:supervisor]\nsupervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface\n",
        _section("supervisorctl", serverurl=f"unix://{socket}"),
        *(_program(plan, place, program) for place, program in enumerate(programs)),
    ]
    return "\n".join(sections)


def _fingerprint(plan: Plan) -> str:
    """Differs when a program that runs would have to be started again. What is secret cannot be read from it."""
    known = {
        name: value.get_secret_value() if isinstance(value, SecretStr) else value
        for name, value in plan.settings
        if isinstance(value, SecretStr) or name.startswith(_READ_AT_START)
    }
    text = json.dumps([known, plan.prefect_login], default=str, sort_keys=True)
    return hashlib.pbkdf2_hmac("sha256", text.encode(), b"settings", _ROUNDS).hex()[:16]


def _program(plan: Plan, place: int, program: Program) -> str:
    environment = ",".join(f'{name}="{value}"' for name, value in program.environment.items())
    return _section(
        f"program:{program.name}",
        command=" ".join(_quoted(word) for word in program.command),
        environment=environment,
        priority=10 * (place + 1),
        autostart=str(program.autostart).lower(),
        autorestart="true",
        startsecs=2,
        startretries=_START_TRIES,
        stopsignal="TERM",
        stopwaitsecs=program.seconds_to_stop,
        killasgroup="true",
        redirect_stderr="true",
        stdout_logfile=plan.logs / f"{program.name}.log",
        stdout_logfile_maxbytes="10MB",
        stdout_logfile_backups=2,
    )


def _section(name: str, **values: object) -> str:
    lines = [f"{key} = {str(value).replace('%', '%%')}" for key, value in values.items() if value != ""]
    return "\n".join([f"[{name}]", *lines, ""])


def _quoted(word: str) -> str:
    return f'"{word}"' if " " in word else word
