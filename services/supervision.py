"""The supervisor that keeps the programs running: its configuration, its start and stop, and what it says of them."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import subprocess
import sys
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

from core.errors import SettingsError
from core.settings import setting_names
from core.temporary_files import make_socket_folder, socket_folder
from services.local_services import MARK, PREFECT_DATABASE, ROOT, LocalServices, ServiceProcess, inherited_environment

# A program that crashes at once is started again and again, a second later each time.
_START_TRIES = 100
CONFIGURATION = "supervisord.conf"
_PREFIXES_READ_AT_START = ("ALERT_", "EMBEDDED_", "SERVING_", "PREFECT_")
_READ_AT_START = ("MOCK_PORT", "DATA_DOCS_PORT")
_SETTINGS_LINE = "; settings in use: "
_FINGERPRINT = "fingerprint "
# To guess a password from its fingerprint, every try must take long.
_ROUNDS = 100_000


@dataclass(frozen=True)
class SupervisedProcess:
    """What the supervisor says of one program, such as RUNNING."""

    name: str
    state: str
    pid: int
    description: str


@dataclass(frozen=True)
class Supervisor:
    """The supervisor of one services, whether it runs or not."""

    services: LocalServices

    @property
    def socket(self) -> Path:
        """Elsewhere than the state if its path is too long for a socket."""
        return socket_folder(self.services.layout.services) / "supervisor.sock"

    def states(self) -> list[SupervisedProcess]:
        """One entry a program; none when the supervisor does not run."""
        try:
            with self._ask() as supervisor:
                answers: Any = supervisor.getAllProcessInfo()
        except (OSError, Fault):
            return []
        return [SupervisedProcess(a["name"], a["statename"], a["pid"], a["description"]) for a in answers]

    def start(self, programs: Sequence[ServiceProcess]) -> None:
        """Start it with all programs. Raises CalledProcessError."""
        self.services.layout.services.mkdir(parents=True, exist_ok=True)
        self.services.layout.logs.mkdir(parents=True, exist_ok=True)
        make_socket_folder(self.socket.parent)
        configuration = self.services.layout.services / CONFIGURATION
        configuration.write_text(render(self.services, programs, self.socket))
        subprocess.run(
            [sys.executable, "-m", "supervisor.supervisord", "-c", configuration.name],
            cwd=self.services.layout.services,
            env=inherited_environment() | self.services.environment | _environment_of(programs),
            check=True,
            capture_output=True,
            text=True,
        )

    def restart_stopped(self) -> None:
        """Start the programs that were given up or stopped by hand."""
        for program in self.states():
            if program.state not in ("RUNNING", "STARTING", "BACKOFF"):
                self.start_process(program.name)

    def start_process(self, name: str) -> None:
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
        if self.socket.parent != self.services.layout.services:
            with suppress(OSError):
                self.socket.parent.rmdir()

    def leftovers(self) -> list[psutil.Process]:
        """Processes of our services that nobody supervises; not Postgres, which its last user stops."""
        mine = []
        for process in psutil.process_iter():
            with suppress(psutil.Error, OSError):
                marked = process.environ().get(MARK) == str(self.services.settings.data_dir)
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


def render(services: LocalServices, programs: Sequence[ServiceProcess], socket: Path) -> str:
    """The supervisor's configuration, for a supervisor that is started in `services.layout.services`.

    Paths in DATA_DIR are relative: the supervisor expands `%` in some values twice, and takes ` #` for a comment.
    """
    logs = Path("..") / services.layout.logs.name
    is_in_state = socket.parent == services.layout.services
    # `supervisorctl -c` runs in any folder: it replaces this by the folder of the configuration, whatever its name.
    socket_for_clients = f"%(here)s/{socket.name}" if is_in_state else socket
    sections = [
        f"{_SETTINGS_LINE}{json.dumps(settings_in_use(services), sort_keys=True)}\n",
        _section("unix_http_server", file=socket.name if is_in_state else socket, chmod="0700"),
        _section(
            "supervisord",
            logfile=logs / "supervisord.log",
            logfile_maxbytes="5MB",
            logfile_backups=1,
            pidfile="supervisord.pid",
            childlogdir=logs,
        ),
        "[rpcinterface:supervisor]\nsupervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface\n",
        f"[supervisorctl]\nserverurl = unix://{socket_for_clients}\n",
        *(_program(logs, place, program) for place, program in enumerate(programs)),
    ]
    return "\n".join(sections)


def settings_in_use(services: LocalServices) -> dict[str, str]:
    """By name, what running programs keep until they are started again. Of a secret, a fingerprint.

    Flow runs read `.env` when they start; but what was in the environment of `make up`, they too keep.
    """
    names = setting_names()
    values = {
        name.upper(): value for part in (services.settings, services.ports, services.login) for name, value in part
    }
    from_environment = {**os.environ, **services.environment}
    kept = {name: value for name, value in from_environment.items() if name in names or name in PREFECT_DATABASE} | {
        name: value
        for name, value in values.items()
        if isinstance(value, SecretStr) or name in _READ_AT_START or name.startswith(_PREFIXES_READ_AT_START)
    }
    return {name: _shown(value) for name, value in kept.items()}


def changed_settings(services: LocalServices) -> list[str]:
    """What differs between the running services and the settings now, such as `SERVING_PORT 8080 -> 8081`."""
    first_line = (services.layout.services / CONFIGURATION).read_text().partition("\n")[0]
    try:
        old = json.loads(first_line.removeprefix(_SETTINGS_LINE))
    except ValueError:
        return ["those of an older version"]
    new = settings_in_use(services)
    unset = "(from .env or the default)"
    return [
        f"{name} (secret)"
        if _is_fingerprint(old.get(name, "")) or _is_fingerprint(new.get(name, ""))
        else f"{name} {old.get(name, unset) or '(empty)'} -> {new.get(name, unset) or '(empty)'}"
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name)
    ]


def _shown(value: object) -> str:
    """The value, or a fingerprint of what may hold a password. What is secret cannot be read from it."""
    secret = isinstance(value, SecretStr)
    text = value.get_secret_value() if isinstance(value, SecretStr) else str(value)
    if not text or not (secret or re.search("://.*@", text)):
        return text
    digest = hashlib.pbkdf2_hmac("sha256", text.encode(errors="surrogateescape"), b"settings", _ROUNDS).hex()
    return f"{_FINGERPRINT}{digest[:16]}"


def _is_fingerprint(text: str) -> bool:
    return text.startswith(_FINGERPRINT)


def _environment_of(programs: Sequence[ServiceProcess]) -> dict[str, str]:
    """What the programs need, for all of them: the configuration could not hold every value. No two differ in one."""
    return {name: value for program in programs for name, value in program.environment.items()}


def _program(logs: Path, place: int, program: ServiceProcess) -> str:
    return _section(
        f"program:{program.name}",
        command=shlex.join(program.command),
        directory=ROOT,
        priority=10 * (place + 1),
        autostart=str(program.autostart).lower(),
        autorestart="true",
        startsecs=2,
        startretries=_START_TRIES,
        stopsignal="TERM",
        stopwaitsecs=program.seconds_to_stop,
        killasgroup="true",
        redirect_stderr="true",
        stdout_logfile=logs / f"{program.name}.log",
        stdout_logfile_maxbytes="10MB",
        stdout_logfile_backups=2,
    )


def _section(name: str, **values: object) -> str:
    """A section of the configuration. Raises SettingsError for a value that it cannot hold."""
    for value in values.values():
        if re.search(r"\s[;#]", str(value)):
            raise SettingsError(f"' ;' or ' #' in a path keeps the supervisor from starting: {value}; move the project")
    lines = [f"{key} = {str(value).replace('%', '%%')}" for key, value in values.items() if value != ""]
    return "\n".join([f"[{name}]", *lines, ""])
