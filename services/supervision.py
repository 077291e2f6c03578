"""The supervisor of the local services: configuration, start, stop and state."""

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
from core.prefect_names import SERVICES_MARK
from core.settings import setting_names
from core.temporary_files import make_socket_folder, socket_folder
from services.local_services import PREFECT_DATABASE, ROOT, LocalServices, ServiceProcess, inherited_environment

# The supervisor restarts a process that crashes at once, each time one second later.
_START_TRIES = 100
CONFIGURATION = "supervisord.conf"
_PREFIXES_READ_AT_START = ("ALERT_", "EMBEDDED_", "SERVING_", "STREAM_", "PREFECT_")
_READ_AT_START = ("MOCK_PORT", "DATA_DOCS_PORT", "KAFKA_PORT")
_SETTINGS_LINE = "; settings in use: "
_FINGERPRINT = "fingerprint "
# Many rounds make it slow to guess a password from its fingerprint.
_ROUNDS = 100_000


@dataclass(frozen=True)
class SupervisedProcess:
    """A process as the supervisor reports it. `state` is such as RUNNING."""

    name: str
    state: str
    pid: int
    description: str


@dataclass(frozen=True)
class Supervisor:
    """The supervisor of the local services, whether it runs or not."""

    services: LocalServices

    @property
    def socket(self) -> Path:
        """Path of its socket, outside the state folder if that path would be too long."""
        return socket_folder(self.services.layout.services) / "supervisor.sock"

    def states(self) -> list[SupervisedProcess]:
        """Return the processes; none if the supervisor does not run."""
        try:
            with self._connect() as supervisor:
                infos: Any = supervisor.getAllProcessInfo()
        except (OSError, Fault):
            return []
        return [SupervisedProcess(info["name"], info["statename"], info["pid"], info["description"]) for info in infos]

    def start(self, processes: Sequence[ServiceProcess]) -> None:
        """Start the supervisor with all processes. Raises CalledProcessError."""
        self.services.layout.services.mkdir(parents=True, exist_ok=True)
        self.services.layout.logs.mkdir(parents=True, exist_ok=True)
        make_socket_folder(self.socket.parent)
        configuration = self.services.layout.services / CONFIGURATION
        configuration.write_text(render(self.services, processes, self.socket))
        subprocess.run(
            [sys.executable, "-m", "supervisor.supervisord", "-c", configuration.name],
            cwd=self.services.layout.services,
            env=inherited_environment() | self.services.environment | _environment_of(processes),
            check=True,
            capture_output=True,
            text=True,
        )

    def restart_stopped(self) -> None:
        """Start the processes that the supervisor gave up or that a person stopped."""
        for process in self.states():
            if process.state not in ("RUNNING", "STARTING", "BACKOFF"):
                self.start_process(process.name)

    def start_process(self, name: str) -> None:
        """Start one process, if it does not run."""
        with suppress(Fault), self._connect() as supervisor:
            supervisor.startProcess(name, False)

    def stop(self, seconds: float) -> None:
        """Stop every process, last first, then the supervisor, then processes that a killed supervisor left."""
        with suppress(OSError, Fault), self._connect() as supervisor:
            supervisor.shutdown()
        deadline = time.monotonic() + seconds
        while self.states() and time.monotonic() < deadline:
            time.sleep(0.2)
        end(self.leftovers())
        if self.socket.parent != self.services.layout.services:
            with suppress(OSError):
                self.socket.parent.rmdir()

    def leftovers(self) -> list[psutil.Process]:
        """Return processes of these services without a supervisor. Not Postgres: its last user stops it."""
        processes = []
        for process in psutil.process_iter():
            with suppress(psutil.Error, OSError):
                is_marked = process.environ().get(SERVICES_MARK) == str(self.services.settings.data_dir)
                if is_marked and process.pid != os.getpid() and "postgres" not in process.name():
                    processes.append(process)
        return processes

    @contextmanager
    def _connect(self) -> Iterator[Any]:
        transport = SupervisorTransport(serverurl=f"unix://{self.socket}")
        with ServerProxy("http://supervisor", transport=transport) as proxy:
            yield proxy.supervisor


def end(processes: Sequence[psutil.Process]) -> None:
    """Terminate the processes; kill those that do not end in time."""
    for process in processes:
        with suppress(psutil.Error):
            process.terminate()
    _, alive = psutil.wait_procs(processes, timeout=20)
    for process in alive:
        with suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(alive, timeout=5)


def render(services: LocalServices, processes: Sequence[ServiceProcess], socket: Path) -> str:
    """Return the configuration of a supervisor that starts in the folder `services.layout.services`.

    Paths in DATA_DIR are relative: the supervisor expands `%` in some values twice, and reads ` #` as a comment.
    """
    logs = Path("..") / services.layout.logs.name
    is_in_state = socket.parent == services.layout.services
    # `supervisorctl -c` replaces this by the folder of the configuration, so it works from any folder.
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
        *(_process_section(logs, position, process) for position, process in enumerate(processes)),
    ]
    return "\n".join(sections)


def settings_in_use(services: LocalServices) -> dict[str, str]:
    """Return, by name, the settings that running services use until their restart. A secret is a fingerprint.

    Flow runs read `.env` at their start, but they too inherit the environment of `make up`.
    """
    names = setting_names()
    values = {
        name.upper(): value for part in (services.settings, services.ports, services.login) for name, value in part
    }
    from_environment = {**os.environ, **services.environment}
    inherited = {name: value for name, value in from_environment.items() if name in names or name in PREFECT_DATABASE}
    read_at_start = {
        name: value
        for name, value in values.items()
        if isinstance(value, SecretStr) or name in _READ_AT_START or name.startswith(_PREFIXES_READ_AT_START)
    }
    return {name: _without_secrets(value) for name, value in (inherited | read_at_start).items()}


def changed_settings(services: LocalServices) -> list[str]:
    """Return the differences between running services and current settings, such as `SERVING_PORT 8080 -> 8081`."""
    first_line = (services.layout.services / CONFIGURATION).read_text().partition("\n")[0]
    try:
        old = json.loads(first_line.removeprefix(_SETTINGS_LINE))
    except ValueError:
        return ["an older version started them"]
    new = settings_in_use(services)
    unset = "(from .env or the default)"
    return [
        f"{name} (secret)"
        if _is_fingerprint(old.get(name, "")) or _is_fingerprint(new.get(name, ""))
        else f"{name} {old.get(name, unset) or '(empty)'} -> {new.get(name, unset) or '(empty)'}"
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name)
    ]


def _without_secrets(value: object) -> str:
    """Return the value, or a fingerprint if it may contain a password."""
    is_secret = isinstance(value, SecretStr)
    text = value.get_secret_value() if isinstance(value, SecretStr) else str(value)
    if not text or not (is_secret or re.search("://.*@", text)):
        return text
    digest = hashlib.pbkdf2_hmac("sha256", text.encode(errors="surrogateescape"), b"settings", _ROUNDS).hex()
    return f"{_FINGERPRINT}{digest[:16]}"


def _is_fingerprint(text: str) -> bool:
    return text.startswith(_FINGERPRINT)


def _environment_of(processes: Sequence[ServiceProcess]) -> dict[str, str]:
    """Merge the variables of all processes, since the supervisor's configuration cannot hold every value."""
    return {name: value for process in processes for name, value in process.environment.items()}


def _process_section(logs: Path, position: int, process: ServiceProcess) -> str:
    return _section(
        f"program:{process.name}",
        command=shlex.join(process.command),
        directory=ROOT,
        priority=10 * (position + 1),
        autostart=str(process.autostart).lower(),
        autorestart="true",
        startsecs=2,
        startretries=_START_TRIES,
        stopsignal="TERM",
        stopwaitsecs=process.seconds_to_stop,
        killasgroup="true",
        redirect_stderr="true",
        stdout_logfile=logs / f"{process.name}.log",
        stdout_logfile_maxbytes="10MB",
        stdout_logfile_backups=2,
    )


def _section(name: str, **values: object) -> str:
    """Return a section of the configuration. Raises SettingsError for a value that it cannot hold."""
    for value in values.values():
        if re.search(r"\s[;#]", str(value)):
            raise SettingsError(f"the supervisor cannot use a path with ' ;' or ' #': {value}; move the project")
    lines = [f"{key} = {str(value).replace('%', '%%')}" for key, value in values.items() if value != ""]
    return "\n".join([f"[{name}]", *lines, ""])
