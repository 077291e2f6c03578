"""Which programs run, on which ports, with which environment. Decided from the settings, before anything starts."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from core.atomic_files import write_atomically
from core.data_layout import DataLayout
from core.errors import SettingsError
from core.settings import ENV_FILE, Settings, load_settings, wrong_values

ROOT = Path(__file__).parent.parent
WORK_POOL = "moovitamix"
HOST = "127.0.0.1"
# Every process we start bears it, so that those of a killed supervisor are found again.
MARK = "MOOVITAMIX_SERVICES"
# Enough listeners a day for a verdict on quality every two days.
_MOCK_WORLD = ("--sessions", "20000")
# What `automations.yaml` waits for: a worker is missed after three of its seconds, a run after 90.
SIGNS_OF_LIFE = {"PREFECT_WORKER_HEARTBEAT_SECONDS": "10", "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30"}
_LOGIN_OF_SERVER, _LOGIN_OF_CLIENT = "PREFECT_SERVER_API_AUTH_STRING", "PREFECT_API_AUTH_STRING"
PREFECT_DATABASE = ("PREFECT_SERVER_DATABASE_CONNECTION_URL", "PREFECT_API_DATABASE_CONNECTION_URL")


class Ports(BaseSettings):
    """Where the services listen, always on 127.0.0.1."""

    model_config = SettingsConfigDict(env_file=ENV_FILE, extra="ignore", frozen=True)

    prefect_server_api_port: int = Field(default=4200, ge=1, le=65_535)
    mock_port: int = Field(default=8000, ge=1, le=65_535)
    data_docs_port: int = Field(default=4280, ge=1, le=65_535)


def _login(login: SecretStr) -> SecretStr:
    text = login.get_secret_value()
    user, colon, password = text.partition(":")
    if text and not (user and colon and password and text.isprintable()):
        raise ValueError("must look like user:password")
    return login


class PrefectCredentials(BaseSettings):
    """What Prefect's server asks for, from browsers, workers and us; empty: nothing."""

    model_config = SettingsConfigDict(env_file=ENV_FILE, extra="ignore", frozen=True)

    prefect_server_api_auth_string: Annotated[SecretStr, AfterValidator(_login)] = SecretStr("")


@dataclass(frozen=True)
class ServiceProcess:
    """One process to keep running. `health_url` is asked before it counts as ready; `port` is what it needs free."""

    name: str
    command: tuple[str, ...]
    setting: str | None = None
    port: int | None = None
    health_url: str | None = None
    environment: dict[str, str] = field(default_factory=dict)
    seconds_to_stop: int = 20
    autostart: bool = True


@dataclass(frozen=True)
class LocalServices:
    """The services of one DATA_DIR."""

    settings: Settings
    ports: Ports
    login: PrefectCredentials

    @property
    def layout(self) -> DataLayout:
        return DataLayout(self.settings.data_dir)

    @property
    def uses_mock_api(self) -> bool:
        """Whether the API is our stand-in: its address was not set to anything else."""
        named = "moovitamix_api_url" in self.settings.model_fields_set
        return not named or self.settings.moovitamix_api_url == self._mock_url

    @property
    def _mock_url(self) -> str:
        return f"http://{HOST}:{self.ports.mock_port}"

    @property
    def api_url(self) -> str:
        return self._mock_url if self.uses_mock_api else self.settings.moovitamix_api_url

    @property
    def prefect_url(self) -> str:
        return f"http://{HOST}:{self.ports.prefect_server_api_port}"

    @property
    def prefect_login(self) -> str:
        """user:password, or empty. Secret."""
        return self.login.prefect_server_api_auth_string.get_secret_value()

    @property
    def docs_url(self) -> str:
        return f"http://{HOST}:{self.ports.data_docs_port}"

    @property
    def serving_url(self) -> str:
        return f"http://{HOST}:{self.settings.serving_port}"

    @property
    def ui_api_url(self) -> str:
        """Prefect's API as the browser reaches it."""
        return f"{self.settings.prefect_ui_url.rstrip('/') or self.prefect_url}/api"

    @property
    def environment(self) -> dict[str, str]:
        """What every service sees beside the environment of `make up`."""
        return {
            MARK: str(self.settings.data_dir),
            "DATA_DIR": str(self.settings.data_dir),
            "DATA_DOCS_URL": self.settings.data_docs_url or self.docs_url,
            "PREFECT_UI_URL": self.settings.prefect_ui_url or self.prefect_url,
            "MOOVITAMIX_API_URL": self.api_url,
            "PREFECT_API_URL": f"{self.prefect_url}/api",
            "TMPDIR": str(self.layout.temporary_files),
            "PREFECT_HOME": str(self.layout.prefect),
            **self._prefect_database,
            "PREFECT_LOGGING_LEVEL": "INFO",  # a run's log in the UI tells how it went
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "DO_NOT_TRACK": "1",
            "GX_ANALYTICS_ENABLED": "False",
            "PYTHONUNBUFFERED": "1",
            "PYTHONIOENCODING": "utf-8",  # what is printed goes to logs, whatever the terminal of `make up` can show
            **dict.fromkeys((_LOGIN_OF_SERVER, _LOGIN_OF_CLIENT) if self.prefect_login else (), self.prefect_login),
        }

    def processes(self) -> list[ServiceProcess]:
        """In the order in which they start; they stop in the other."""
        python, port = sys.executable, self.ports.prefect_server_api_port
        postgres = ServiceProcess("postgres", (python, "-m", "core.embedded_postgres"), seconds_to_stop=90)
        mock_api = ServiceProcess(
            "mock-api",
            (python, "-m", "mock_server", "--port", str(self.ports.mock_port), *self._mock_world()),
            setting="MOCK_PORT",
            port=self.ports.mock_port,
            health_url=f"{self.api_url}/_control/health",
        )
        return [
            *([postgres] if self.settings.embedded else []),
            *([mock_api] if self.uses_mock_api else []),
            ServiceProcess(
                "data-docs",
                (python, "-m", "services.data_docs"),
                setting="DATA_DOCS_PORT",
                port=self.ports.data_docs_port,
                health_url=f"{self.docs_url}/",
            ),
            ServiceProcess(
                "serving",
                (python, "-m", "serving", "--host", HOST),
                setting="SERVING_PORT",
                port=self.settings.serving_port,
                health_url=f"{self.serving_url}/health/live",  # before the first publication too
            ),
            ServiceProcess(
                "prefect-server",
                (python, "-m", "prefect", "server", "start", "--host", HOST, "--port", str(port)),
                setting="PREFECT_SERVER_API_PORT",
                port=port,
                health_url=f"{self.prefect_url}/api/health",
                environment=self._server_environment,
            ),
            ServiceProcess(
                "worker",
                (python, "-m", "prefect", "worker", "start", "--pool", WORK_POOL, "--type", "process"),
                environment={"PREFECT_WORKER_QUERY_SECONDS": "3"} | SIGNS_OF_LIFE,
                seconds_to_stop=40,
                autostart=False,  # when the runs that a crash left behind are closed
            ),
            ServiceProcess(
                "alerts", (python, "-m", "notifications.watchdog"), autostart=False
            ),  # when there is something to watch
        ]

    @property
    def _server_environment(self) -> dict[str, str]:
        return {
            # Asked by the browser: behind a reverse proxy, where the browser reaches it.
            "PREFECT_SERVER_UI_API_URL": self.ui_api_url,
            "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
            "PREFECT_SERVER_UI_V2_ENABLED": "false",
            "PREFECT_SERVER_UI_STATIC_DIRECTORY": str(self.layout.prefect_ui),
            # In files, so that a restart of the server does not cut off the runs that hold a slot of their deployment.
            "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
            "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,flow_runs",
            "PREFECT_SERVER_SERVICES_DB_VACUUM_RETENTION_PERIOD": f"P{self.settings.run_retention_days}D",
            "PREFECT_SERVER_EVENTS_RETENTION_PERIOD": f"P{self.settings.run_retention_days}D",
        }

    @property
    def _prefect_database(self) -> dict[str, str]:
        """Not the database of flows that run without this server: SQLite takes one writer at a time."""
        if any(os.environ.get(name) for name in PREFECT_DATABASE):
            return {}
        return {PREFECT_DATABASE[0]: f"sqlite+aiosqlite:///{self.layout.prefect_database}"}

    def _mock_world(self) -> tuple[str, ...]:
        return ("--base-day", self.mock_base_day, *_MOCK_WORLD)

    @property
    def mock_base_day(self) -> str:
        """The day of the first `make up`, or today before it. Another day would make other data from the same seed."""
        with suppress(FileNotFoundError):
            return self.layout.mock_base_day.read_text().strip()
        return str(datetime.now(UTC).date())

    def record_mock_base_day(self) -> None:
        """Keep today as the base day of the mock API, unless an earlier day is kept."""
        self.layout.services.mkdir(parents=True, exist_ok=True)
        if not self.layout.mock_base_day.exists():
            write_atomically(self.layout.mock_base_day, f"{self.mock_base_day}\n")


def load_local_services(*, data_dir_is_written: bool = True) -> LocalServices:
    """Read the environment and `.env`. Raises SettingsError."""
    settings = load_settings(data_dir_is_written=data_dir_is_written)
    try:
        ports = Ports()
    except ValidationError as error:
        names = ", ".join(wrong.partition(" ")[0] for wrong in wrong_values(error))
        raise SettingsError(f"wrong setting: {names} must be a port, from 1 to 65535") from None
    try:
        return LocalServices(settings, ports, PrefectCredentials())
    except ValidationError:
        raise SettingsError(f"wrong setting: {_LOGIN_OF_SERVER} must look like user:password") from None


def inherited_environment() -> dict[str, str]:
    """The environment of `make up` without what would send a service to another Prefect server."""
    mine = os.environ.copy()
    for name in ("PREFECT_API_URL", "PREFECT_PROFILE", "PREFECT_API_KEY", _LOGIN_OF_CLIENT):
        mine.pop(name, None)
    return mine
