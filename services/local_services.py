"""Definitions of the local services: processes, ports and environment, derived from the settings."""

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

from core.addresses import reachable_host
from core.atomic_files import write_atomically
from core.data_layout import DataLayout
from core.errors import SettingsError
from core.prefect_names import FLOW_HEARTBEAT, MODELS_WORK_POOL, SERVICES_MARK, WORK_POOL
from core.settings import ENV_FILE, Settings, load_settings, wrong_values
from streaming.broker_binary import has_local_broker

ROOT = Path(__file__).parent.parent
HOST = "127.0.0.1"
# These sessions have enough users for an evaluation of recommendation quality about every two days.
_MOCK_WORLD = ("--sessions", "20000")
# Prefect counts a worker as offline after three missed heartbeats.
_WORKER_HEARTBEAT = {"PREFECT_WORKER_HEARTBEAT_SECONDS": "10"}
_SERVER_LOGIN_VARIABLE, _CLIENT_LOGIN_VARIABLE = "PREFECT_SERVER_API_AUTH_STRING", "PREFECT_API_AUTH_STRING"
PREFECT_DATABASE = ("PREFECT_SERVER_DATABASE_CONNECTION_URL", "PREFECT_API_DATABASE_CONNECTION_URL")


class Ports(BaseSettings):
    """Ports of the services, on 127.0.0.1."""

    model_config = SettingsConfigDict(env_file=ENV_FILE, extra="ignore", frozen=True)

    prefect_server_api_port: int = Field(default=4200, ge=1, le=65_535)
    mock_port: int = Field(default=8000, ge=1, le=65_535)
    data_docs_port: int = Field(default=4280, ge=1, le=65_535)
    kafka_port: int = Field(default=9092, ge=1, le=65_535)


def _check_login(login: SecretStr) -> SecretStr:
    text = login.get_secret_value()
    user, colon, password = text.partition(":")
    if text and not (user and colon and password and text.isprintable()):
        raise ValueError("must look like user:password")
    return login


class PrefectCredentials(BaseSettings):
    """The login of the Prefect server, as user:password. Empty if the server requires none."""

    model_config = SettingsConfigDict(env_file=ENV_FILE, extra="ignore", frozen=True)

    prefect_server_api_auth_string: Annotated[SecretStr, AfterValidator(_check_login)] = SecretStr("")


@dataclass(frozen=True)
class ServiceProcess:
    """One process of the local services.

    If it has a `health_url`, it is ready when this URL answers. `port` must be free; `setting` names the setting that
    changes it.
    """

    name: str
    command: tuple[str, ...]
    setting: str | None = None
    port: int | None = None
    health_url: str | None = None
    environment: dict[str, str] = field(default_factory=dict)
    seconds_to_stop: int = 20
    autostart: bool = True


# The worker of each work pool.
WORKERS = {"worker": WORK_POOL, "worker-models": MODELS_WORK_POOL}


def _worker(name: str, pool: str, public_url: str) -> ServiceProcess:
    # Notifications link to the console at `public_url`. The API does not need it: its page asks its own address.
    return ServiceProcess(
        name,
        (sys.executable, "-m", "prefect", "worker", "start", "--pool", pool, "--type", "process"),
        environment={"PREFECT_WORKER_QUERY_SECONDS": "3", "SERVING_PUBLIC_URL": public_url}
        | _WORKER_HEARTBEAT
        | FLOW_HEARTBEAT,
        seconds_to_stop=40,
        autostart=False,  # `make up` first closes lost runs
    )


@dataclass(frozen=True)
class LocalServices:
    """The local services of one DATA_DIR."""

    settings: Settings
    ports: Ports
    login: PrefectCredentials

    @property
    def layout(self) -> DataLayout:
        return DataLayout(self.settings.data_dir)

    @property
    def uses_mock_api(self) -> bool:
        """Whether the source is the mock API: MOOVITAMIX_API_URL is not set, or is its URL."""
        is_set = "moovitamix_api_url" in self.settings.model_fields_set
        return not is_set or self.settings.moovitamix_api_url == self._mock_url

    @property
    def _mock_url(self) -> str:
        return f"http://{HOST}:{self.ports.mock_port}"

    @property
    def api_url(self) -> str:
        return self._mock_url if self.uses_mock_api else self.settings.moovitamix_api_url

    @property
    def uses_local_broker(self) -> bool:
        """Whether `make up` starts a Kafka broker: no other broker is set, and this machine has the binary."""
        is_set = "stream_bootstrap_servers" in self.settings.model_fields_set
        return self.settings.stream_transport == "kafka" and not is_set and has_local_broker()

    @property
    def bootstrap_servers(self) -> str:
        """Addresses of the Kafka brokers; empty if streaming is off."""
        return f"{HOST}:{self.ports.kafka_port}" if self.uses_local_broker else self.settings.stream_bootstrap_servers

    @property
    def is_streaming(self) -> bool:
        """Whether a topic is consumed."""
        return self.settings.is_streaming or bool(self.bootstrap_servers)

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
        """URL at which a browser reaches Prefect's API."""
        return f"{self.settings.prefect_ui_url.rstrip('/') or self.prefect_url}/api"

    @property
    def environment(self) -> dict[str, str]:
        """Variables that every service gets in addition to the environment of `make up`."""
        return {
            SERVICES_MARK: str(self.settings.data_dir),
            "DATA_DIR": str(self.settings.data_dir),
            "DATA_DOCS_WEB_URL": self.settings.data_docs_web_url or self.docs_url,
            "PREFECT_UI_URL": self.settings.prefect_ui_url or self.prefect_url,
            "MOOVITAMIX_API_URL": self.api_url,
            "STREAM_BOOTSTRAP_SERVERS": self.bootstrap_servers,
            **({"STREAM_SESSION_TIMEOUT_SECONDS": "1"} if self.uses_local_broker else {}),
            "PREFECT_API_URL": f"{self.prefect_url}/api",
            "TMPDIR": str(self.layout.temporary_files),
            "PREFECT_HOME": str(self.layout.prefect),
            **self._prefect_database,
            "PREFECT_LOGGING_LEVEL": "INFO",  # for the log of a run in the UI
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "DO_NOT_TRACK": "1",
            "GX_ANALYTICS_ENABLED": "False",
            "PYTHONUNBUFFERED": "1",
            "PYTHONIOENCODING": "utf-8",  # for logs, whatever encoding the terminal of `make up` has
            **dict.fromkeys(
                (_SERVER_LOGIN_VARIABLE, _CLIENT_LOGIN_VARIABLE) if self.prefect_login else (), self.prefect_login
            ),
        }

    def processes(self) -> list[ServiceProcess]:
        """Return the processes in the order in which they start. They stop in reverse order."""
        python, port = sys.executable, self.ports.prefect_server_api_port
        postgres = ServiceProcess("postgres", (python, "-m", "core.embedded_postgres"), seconds_to_stop=90)
        mock_api = ServiceProcess(
            "mock-api",
            (python, "-m", "mock_server", "--port", str(self.ports.mock_port), *self._mock_arguments()),
            setting="MOCK_PORT",
            port=self.ports.mock_port,
            health_url=f"{self.api_url}/_control/health",
            environment={"MOCK_PLAYS_FILE": str(self.layout.mock_plays)},
        )
        broker = ServiceProcess(
            "kafka",
            (python, "-m", "streaming.local_broker", "--port", str(self.ports.kafka_port)),
            setting="KAFKA_PORT",
            port=self.ports.kafka_port,
        )
        metrics_host = reachable_host(self.settings.stream_metrics_host)
        stream = ServiceProcess(
            "stream",
            (python, "-m", "streaming"),
            setting="STREAM_METRICS_PORT",
            port=self.settings.stream_metrics_port,
            health_url=f"http://{metrics_host}:{self.settings.stream_metrics_port}/metrics",
        )
        return [
            *([postgres] if self.settings.embedded else []),
            *([mock_api] if self.uses_mock_api else []),
            *([broker] if self.uses_local_broker else []),
            *([stream] if self.is_streaming else []),
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
                health_url=f"{self.serving_url}/health/live",  # answers before the first publication too
                environment={
                    "CONSOLE_PREFECT_API_URL": self.settings.console_prefect_api_url or f"{self.prefect_url}/api",
                    "CONSOLE_PREFECT_LOGIN": self.settings.console_prefect_login.get_secret_value()
                    or self.prefect_login,
                },
            ),
            ServiceProcess(
                "prefect-server",
                (python, "-m", "prefect", "server", "start", "--host", HOST, "--port", str(port)),
                setting="PREFECT_SERVER_API_PORT",
                port=port,
                health_url=f"{self.prefect_url}/api/health",
                environment=self._server_environment,
            ),
            *(
                _worker(name, pool, self.settings.serving_public_url or self.serving_url)
                for name, pool in WORKERS.items()
            ),
            # `make up` starts the watchdog last, when the services that it checks are running.
            ServiceProcess("alerts", (python, "-m", "notifications.watchdog"), autostart=False),
        ]

    @property
    def _server_environment(self) -> dict[str, str]:
        return {
            # The browser uses this URL, which may be that of a reverse proxy.
            "PREFECT_SERVER_UI_API_URL": self.ui_api_url,
            "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
            "PREFECT_SERVER_UI_V2_ENABLED": "false",
            "PREFECT_SERVER_UI_STATIC_DIRECTORY": str(self.layout.prefect_ui),
            # Lease files survive a restart of the server, so active runs keep the concurrency slot of their deployment.
            "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
            "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,flow_runs",
            "PREFECT_SERVER_SERVICES_DB_VACUUM_RETENTION_PERIOD": f"P{self.settings.run_retention_days}D",
            "PREFECT_SERVER_EVENTS_RETENTION_PERIOD": f"P{self.settings.run_retention_days}D",
        }

    @property
    def _prefect_database(self) -> dict[str, str]:
        """A database for this server alone: SQLite allows one writer, and other Prefect servers write to their own."""
        if any(os.environ.get(name) for name in PREFECT_DATABASE):
            return {}
        return {PREFECT_DATABASE[0]: f"sqlite+aiosqlite:///{self.layout.prefect_database}"}

    def _mock_arguments(self) -> tuple[str, ...]:
        return ("--base-day", self.mock_base_day, *_MOCK_WORLD)

    @property
    def mock_base_day(self) -> str:
        """The day of the first `make up`, or today before that. Another day would generate other data from the seed."""
        with suppress(FileNotFoundError):
            return self.layout.mock_base_day.read_text().strip()
        return str(datetime.now(UTC).date())

    def record_mock_base_day(self) -> None:
        """Record today as the base day of the mock API, unless one is recorded."""
        self.layout.services.mkdir(parents=True, exist_ok=True)
        if not self.layout.mock_base_day.exists():
            write_atomically(self.layout.mock_base_day, f"{self.mock_base_day}\n")


def load_local_services(*, data_dir_is_written: bool = True) -> LocalServices:
    """Read the settings from the environment and `.env`. Raises SettingsError.

    With `data_dir_is_written=False`, DATA_DIR may be read-only.
    """
    settings = load_settings(data_dir_is_written=data_dir_is_written)
    try:
        ports = Ports()
    except ValidationError as error:
        names = ", ".join(message.partition(" ")[0] for message in wrong_values(error))
        raise SettingsError(f"wrong setting: {names} must be a port, from 1 to 65535") from None
    try:
        return LocalServices(settings, ports, PrefectCredentials())
    except ValidationError:
        raise SettingsError(f"wrong setting: {_SERVER_LOGIN_VARIABLE} must look like user:password") from None


def inherited_environment() -> dict[str, str]:
    """Return the environment of `make up` without the variables that select another Prefect server or its login."""
    environment = os.environ.copy()
    for name in ("PREFECT_API_URL", "PREFECT_PROFILE", "PREFECT_API_KEY", _CLIENT_LOGIN_VARIABLE):
        environment.pop(name, None)
    return environment
