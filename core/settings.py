"""All settings. A program loads them once and passes them on. `.env.example` documents each setting."""

from __future__ import annotations

import errno
import os
import pwd
import re
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from pkgutil import resolve_name
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import urlsplit, urlunsplit

import psycopg
from psycopg.conninfo import conninfo_to_dict
from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError, ValidationInfo, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from core.addresses import bracket_ipv6
from core.data_layout import DataLayout
from core.env_file import check_env_file, check_environment
from core.errors import SettingsError
from core.proxies import is_loopback
from core.tls import check_tls_files

# Relative to the current folder, which is the folder of the project.
ENV_FILE = ".env"
# An ingest starts at 04:00. The next one must have published by 07:00 on the next day.
PUBLISHED_WITHIN_HOURS = 27
_EMPTY = "must not be empty; leave it out for the default"
# Other classes of settings, for the names of their fields. They are looked up by name, because `core` imports no other
# package.
_OTHER_SETTINGS = (
    "expectations.thresholds:Thresholds",
    "services.local_services:Ports",
    "services.local_services:PrefectCredentials",
)


def _not_empty(value: Any) -> Any:
    if value == "":
        raise ValueError(_EMPTY)
    return value


def _none_if_empty(value: Any) -> Any:
    return None if value == "" else value


def _http_url(url: str) -> str:
    parts = urlsplit(url.strip())
    try:
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # the port is not a number, or too large
        usable = False
    if not usable:
        raise ValueError("must look like http://host:port")
    if parts.query or parts.fragment:
        raise ValueError("must not carry a query or a fragment")
    return urlunsplit(parts).rstrip("/")


def _optional_http_url(url: str) -> str:
    return _http_url(url) if url.strip() else ""


def _issuer_url(url: str, info: ValidationInfo) -> str:
    """Refuse an unencrypted connection to another machine, and an issuer without SERVING_PUBLIC_URL."""
    issuer = _optional_http_url(url)
    if issuer.startswith("http:") and not is_loopback(urlsplit(issuer).hostname or ""):
        raise ValueError("must be https://, because the service at this address decides who may sign in")
    if issuer and not info.data.get("serving_public_url"):
        raise ValueError("needs SERVING_PUBLIC_URL, the address to which the sign-in service sends browsers back")
    return issuer


_Text = TypeVar("_Text", str, SecretStr)


def _needed_with_issuer(value: _Text, info: ValidationInfo) -> _Text:
    text = value.get_secret_value() if isinstance(value, SecretStr) else value
    if info.data.get("console_oidc_issuer") and not text:
        raise ValueError("must be set with CONSOLE_OIDC_ISSUER")
    return value


def _object_store_url(url: str) -> str:
    parts = urlsplit(url.strip())
    if not any(parts):
        return ""
    if parts.scheme not in ("s3", "gs", "az") or not parts.netloc or "@" in parts.netloc or parts.query:
        raise ValueError("must look like s3://bucket/path (gs:// and az:// too), without a key or a password")
    return urlunsplit(parts).rstrip("/")


def _docs_url(url: str) -> str:
    if url.startswith(("http://", "https://")):
        raise ValueError("is where Data Docs are stored, such as s3://bucket/path; their address is DATA_DOCS_WEB_URL")
    return _object_store_url(url)


def _postgres_url(url: SecretStr) -> SecretStr:
    text = url.get_secret_value().strip()
    if not text:
        return SecretStr("")
    scheme, separator, remainder = text.partition("://")
    url_for_libpq = f"postgresql://{remainder}"
    try:
        usable = bool(separator) and scheme.partition("+")[0] in ("postgres", "postgresql")
        conninfo_to_dict(url_for_libpq)
    except psycopg.ProgrammingError:
        usable = False
    if not usable:
        raise ValueError("must look like postgresql://user:password@host:5432/database, special characters as %XX")
    return SecretStr(url_for_libpq)


def _origins(text: str) -> str:
    """Origins as browsers send them, separated by a space."""
    origins = text.replace(",", " ").split()
    if not all(
        re.fullmatch(r"https?://[a-z0-9.-]+(:[0-9]{1,5})?|https?://\[[0-9a-f:]+\](:[0-9]{1,5})?", origin)
        for origin in origins
    ):
        raise ValueError("must be origins like https://app.example, in lower case, without a path")
    return " ".join(origins)


def _token(token: SecretStr | None) -> SecretStr | None:
    text = token.get_secret_value() if token else ""
    if not all("!" <= character <= "~" for character in text):
        raise ValueError("must be printable ASCII without spaces")
    return SecretStr(text) if text else None


# An address may contain commas, as in ?to=a,b. A comma is a separator only before another address.
_BETWEEN_URLS = re.compile(r"[\s,]+(?=[A-Za-z][A-Za-z0-9+.-]*://)")


def _alert_urls(urls: SecretStr) -> SecretStr:
    text = urls.get_secret_value().strip(" \t\r\n,")
    if text and not all(re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*://\S+", url) for url in _BETWEEN_URLS.split(text)):
        raise ValueError("must be addresses like mailtos://user:password@host?to=somebody, special characters as %XX")
    return SecretStr(text)


def _needed_with_tcp_port(password: SecretStr, info: ValidationInfo) -> SecretStr:
    if info.data.get("embedded_tcp_port") is not None and not password.get_secret_value():
        raise ValueError("must be set with EMBEDDED_TCP_PORT")
    return password


def _needed_with_pubsub(subscription: str, info: ValidationInfo) -> str:
    if info.data.get("stream_transport") == "pubsub" and not subscription:
        raise ValueError("must be set with STREAM_TRANSPORT=pubsub")
    return subscription


def _fits_sasl(value: Any, info: ValidationInfo) -> Any:
    """Refuse an unused login, and a missing login."""
    text = value.get_secret_value() if isinstance(value, SecretStr) else value
    protocol = info.data.get("stream_security_protocol")  # None if its own check failed
    if protocol and protocol.startswith("SASL") and not text:
        raise ValueError(f"must be set with STREAM_SECURITY_PROTOCOL={protocol}")
    if protocol and not protocol.startswith("SASL") and text:
        raise ValueError("needs STREAM_SECURITY_PROTOCOL=SASL_SSL or SASL_PLAINTEXT")
    return value


def _fits_ssl(value: Any, info: ValidationInfo) -> Any:
    """Refuse a TLS setting that would not be used: messages would not be encrypted."""
    text = value.get_secret_value() if isinstance(value, SecretStr) else value
    if text and not info.data.get("stream_security_protocol", "SSL").endswith("SSL"):
        raise ValueError("needs STREAM_SECURITY_PROTOCOL=SSL or SASL_SSL")
    return value


def _dask_address(address: str) -> str:
    """Refuse an unencrypted connection to another machine: Dask executes what it receives."""
    text = address.strip()
    if not text:
        return ""
    parts = urlsplit(text)
    try:
        usable = parts.scheme in ("tls", "tcp") and bool(parts.hostname) and bool(parts.port)
    except ValueError:
        usable = False
    if not usable or parts.path or parts.query:
        raise ValueError("must look like tls://host:8786")
    if parts.scheme == "tcp" and not is_loopback(parts.hostname or ""):
        raise ValueError("must be tls://host:port, because its clients can execute code")
    return text


def _fits_dask_tls(file: Path | None, info: ValidationInfo) -> Path | None:
    """Refuse a TLS file that would not be used, and a missing TLS file."""
    address = info.data.get("dask_scheduler", "")
    if address.startswith("tls:") and file is None:
        raise ValueError("must be set with a DASK_SCHEDULER of tls://")
    if address.startswith("tcp:") and file is not None:
        raise ValueError("needs a DASK_SCHEDULER of tls://")
    if file is not None and not file.is_file():
        raise ValueError("is no file; make the certificates with `moovitamix compute certificates`")
    return file


_DaskTlsFile = Annotated[Path | None, BeforeValidator(_none_if_empty), AfterValidator(_fits_dask_tls)]
_TlsFile = Annotated[Path | None, BeforeValidator(_none_if_empty), AfterValidator(_fits_ssl)]


class Settings(BaseSettings):
    """The settings. A field has the name of its environment variable, in lower case."""

    model_config = SettingsConfigDict(env_file=ENV_FILE, extra="ignore", frozen=True)

    mock_port: int = Field(default=8000, ge=1, le=65_535)
    moovitamix_api_url: Annotated[str, AfterValidator(_http_url)] = "http://127.0.0.1:8000"
    moovitamix_api_token: Annotated[SecretStr | None, AfterValidator(_token)] = None
    database_url: Annotated[SecretStr, AfterValidator(_postgres_url)] = SecretStr("")
    ingest_database_url: Annotated[SecretStr, AfterValidator(_postgres_url)] = SecretStr("")
    recommender_database_url: Annotated[SecretStr, AfterValidator(_postgres_url)] = SecretStr("")
    stream_database_url: Annotated[SecretStr, AfterValidator(_postgres_url)] = SecretStr("")
    data_dir: Annotated[Path, BeforeValidator(_not_empty)] = Path(".data")
    embedded_tcp_port: Annotated[int | None, BeforeValidator(_none_if_empty)] = Field(default=None, ge=1, le=65_535)
    embedded_tcp_password: Annotated[SecretStr, AfterValidator(_needed_with_tcp_port)] = Field(
        default=SecretStr(""), validate_default=True
    )
    landing_url: Annotated[str, AfterValidator(_object_store_url)] = ""
    models_url: Annotated[str, AfterValidator(_object_store_url)] = ""
    backups_url: Annotated[str, AfterValidator(_object_store_url)] = ""
    data_docs_url: Annotated[str, AfterValidator(_docs_url)] = ""
    aws_access_key_id: SecretStr = SecretStr("")
    aws_secret_access_key: SecretStr = SecretStr("")
    aws_session_token: SecretStr = SecretStr("")
    aws_region: str = ""
    aws_endpoint_url: Annotated[str, AfterValidator(_optional_http_url)] = ""
    aws_allow_http: bool = False
    data_docs_web_url: str = ""
    prefect_ui_url: str = ""
    runbook_url: str = ""
    clock_file: Annotated[Path | None, BeforeValidator(_none_if_empty)] = None

    page_size: int = Field(default=100, ge=1, le=100)
    fetch_threads: int = Field(default=4, ge=1, le=64)
    source_requests_per_second: float = Field(default=0, ge=0, le=10_000)
    fetch_tries: int = Field(default=6, ge=1, le=50)
    fetch_reads: int = Field(default=4, ge=2, le=20)
    connect_timeout_seconds: float = Field(default=5, gt=0, le=300)
    read_timeout_seconds: float = Field(default=20, gt=0, le=3600)
    give_up_after_seconds: float = Field(default=60, gt=0, le=86_400)
    lock_wait_seconds: float = Field(default=300, ge=0, le=86_400)
    user_track_plays_partitions: Annotated[int | None, BeforeValidator(_none_if_empty)] = Field(
        default=None, ge=1, le=256
    )
    old_months_tablespace: str = Field(default="", max_length=63)
    old_months_after: int = Field(default=12, ge=1, le=1_200)
    retention_days: int = Field(default=14, ge=1, le=36_500)
    run_retention_days: int = Field(default=30, ge=1, le=36_500)
    backups_kept: int = Field(default=14, ge=0, le=10_000)

    recommendations_per_user: int = Field(default=50, ge=1, le=1_000)
    recommend_played: bool = False
    recommendation_diversity: float = Field(default=0, ge=0, le=1)
    similar_tracks_per_track: int = Field(default=20, ge=1, le=1_000)
    publications_kept: int = Field(default=14, ge=1, le=10_000)

    retrain_evaluated_at: int = Field(default=20, ge=1, le=1_000)
    retrain_window_days: int = Field(default=28, ge=1, le=3_650)
    retrain_validation_listeners: int = Field(default=8_000, ge=20, le=1_000_000)
    retrain_seconds_per_model: float = Field(default=600, gt=0, le=86_400)
    retrain_memory_mb: float = Field(default=2_048, ge=128, le=1_048_576)
    retrain_search_trials: int = Field(default=40, ge=1, le=10_000)
    retrain_search_seconds: float = Field(default=3_600, gt=0, le=86_400)
    retrain_confidence: float = Field(default=0.975, ge=0.5, lt=1)
    retrain_refresh_margin: float = Field(default=0.05, ge=0, le=0.5)
    retrain_max_age_days: float = Field(default=90, gt=0, le=36_500)
    code_version: str = ""

    monitor_k: float = Field(default=0.5, ge=0, le=3)
    monitor_h: float = Field(default=5, gt=0, le=100)
    monitor_useful_h: float = Field(default=6.5, gt=0, le=100)
    monitor_warm_up: int = Field(default=14, ge=3, le=1_000)
    monitor_listeners: int = Field(default=200, ge=2, le=10_000_000)
    monitor_cool_down_days: int = Field(default=7, ge=0, le=3_650)

    serving_host: str = Field(default="127.0.0.1", min_length=1)
    serving_port: int = Field(default=8080, ge=1, le=65_535)
    serving_database_url: Annotated[SecretStr, AfterValidator(_postgres_url)] = SecretStr("")
    serving_connections: int = Field(default=4, ge=2, le=100)
    serving_requests_per_minute: int = Field(default=6000, ge=1, le=10_000_000)
    serving_feedback_per_minute: int = Field(default=6000, ge=1, le=10_000_000)
    serving_refusals_per_minute: int = Field(default=120, ge=1, le=10_000_000)
    serving_limits_url: Annotated[SecretStr, AfterValidator(_postgres_url)] = SecretStr("")
    serving_max_body_bytes: int = Field(default=262_144, ge=256, le=1_048_576)
    serving_cors_origins: Annotated[str, AfterValidator(_origins)] = ""
    serving_public_url: str = Field(default="", pattern=r"^(https?://[^\s?#]*[^\s?#/])?$")
    serving_key_cache_seconds: float = Field(default=5, ge=0, le=60)
    console_prefect_api_url: Annotated[str, AfterValidator(_optional_http_url)] = ""
    console_prefect_login: SecretStr = SecretStr("")
    console_oidc_issuer: Annotated[str, AfterValidator(_issuer_url)] = ""
    console_oidc_client_id: Annotated[str, AfterValidator(_needed_with_issuer)] = Field(
        default="", validate_default=True
    )
    console_oidc_client_secret: Annotated[SecretStr, AfterValidator(_needed_with_issuer)] = Field(
        default=SecretStr(""), validate_default=True
    )
    console_oidc_scopes: str = Field(default="openid", pattern=r"^(\S+ )*openid( \S+)*$")
    console_oidc_groups_claim: str = Field(default="groups", pattern=r"^[^.]+(\.[^.]+)*$")
    console_oidc_read_group: Annotated[str, AfterValidator(_needed_with_issuer)] = Field(
        default="", validate_default=True
    )
    console_oidc_act_group: str = ""

    stream_transport: Literal["kafka", "pubsub"] = "kafka"
    stream_bootstrap_servers: str = ""
    stream_topic: str = Field(default="moovitamix.listens", pattern=r"^[A-Za-z0-9._-]{1,249}$")
    stream_group: str = Field(default="moovitamix", min_length=1)
    # Apache Kafka accepts 6 to 1800 seconds by default.
    stream_session_timeout_seconds: float = Field(default=6.0, ge=0.5, le=1800.0)
    stream_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    stream_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "PLAIN"
    stream_sasl_username: Annotated[str, AfterValidator(_fits_sasl)] = Field(default="", validate_default=True)
    stream_sasl_password: Annotated[SecretStr, AfterValidator(_fits_sasl)] = Field(
        default=SecretStr(""), validate_default=True
    )
    stream_ssl_ca_file: _TlsFile = None
    stream_ssl_certificate_file: _TlsFile = None
    stream_ssl_key_file: _TlsFile = None
    stream_ssl_key_password: Annotated[SecretStr, AfterValidator(_fits_ssl)] = SecretStr("")
    stream_pubsub_subscription: Annotated[str, AfterValidator(_needed_with_pubsub)] = Field(
        default="", pattern=r"^(projects/[^/\s]+/subscriptions/[^/\s]+)?$", validate_default=True
    )
    stream_batch_messages: int = Field(default=2_000, ge=1, le=100_000)
    stream_wait_seconds: float = Field(default=0.5, gt=0, le=60)
    stream_fresh: bool = True
    stream_parked_days: float = Field(default=3, gt=0, le=36_500)
    stream_unconfirmed_days: float = Field(default=3, ge=2, le=36_500)
    stream_metrics_host: str = Field(default="127.0.0.1", min_length=1)
    stream_metrics_port: int = Field(default=9400, ge=1, le=65_535)

    dask_scheduler: Annotated[str, AfterValidator(_dask_address)] = ""
    dask_tls_ca_file: _DaskTlsFile = Field(default=None, validate_default=True)
    dask_tls_certificate_file: _DaskTlsFile = Field(default=None, validate_default=True)
    dask_tls_key_file: _DaskTlsFile = Field(default=None, validate_default=True)
    dask_worker_seconds: float = Field(default=60, gt=0, le=86_400)
    dask_block_seconds: float = Field(default=900, gt=0, le=86_400)

    alert_urls: Annotated[SecretStr, AfterValidator(_alert_urls)] = SecretStr("")
    alert_published_within_hours: float = Field(default=PUBLISHED_WITHIN_HOURS, ge=1, le=8_760)
    alert_disk_free_share: float = Field(default=0.05, ge=0, lt=1)
    alert_disk_free_mb: float = Field(default=1_024, ge=0, le=1e9)
    alert_memory_free_share: float = Field(default=0.05, ge=0, lt=1)
    alert_stream_lag_seconds: float = Field(default=60, gt=0, le=86_400)
    alert_stream_rejected_share: float = Field(default=0.05, ge=0, lt=1)
    alert_look_seconds: float = Field(default=15, ge=1, le=600)

    @model_validator(mode="before")
    @classmethod
    def _default_to_mock_api(cls, values: dict[str, Any]) -> dict[str, Any]:
        port = values.get("mock_port", "")
        if "moovitamix_api_url" in values or not str(port).strip().isdigit():
            return values
        return values | {"moovitamix_api_url": f"http://127.0.0.1:{int(port)}"}

    @property
    def embedded(self) -> bool:
        """Whether the embedded Postgres is used, because no login of another server is set."""
        urls = (
            self.database_url,
            self.ingest_database_url,
            self.recommender_database_url,
            self.stream_database_url,
        )
        return not any(url.get_secret_value() for url in urls)

    @property
    def is_streaming(self) -> bool:
        """Whether a topic is consumed."""
        return self.stream_transport == "pubsub" or bool(self.stream_bootstrap_servers)

    @property
    def source(self) -> str:
        """The API's address without user and password, for logs and the database."""
        parts = urlsplit(self.moovitamix_api_url)
        host = bracket_ipv6(parts.hostname or "")
        return urlunsplit(parts._replace(netloc=f"{host}:{parts.port}" if parts.port else host))


def alert_urls_of(settings: Settings) -> list[str]:
    """The addresses to which notifications are sent. They contain passwords."""
    text = settings.alert_urls.get_secret_value()
    return _BETWEEN_URLS.split(text) if text else []


def setting_names() -> set[str]:
    """The names of all settings, in upper case."""
    classes: list[type[BaseSettings]] = [Settings, *(resolve_name(name) for name in _OTHER_SETTINGS)]
    return {
        f"{settings.model_config.get('env_prefix', '')}{name}".upper()
        for settings in classes
        for name in settings.model_fields
    }


def load_settings(*, data_dir_is_written: bool = True) -> Settings:
    """Read the environment and `.env`, and create DATA_DIR.

    With `data_dir_is_written=False`, DATA_DIR may be read-only. Raises SettingsError with one line, which names each
    wrong setting or says why DATA_DIR cannot be used.
    """
    names = setting_names()
    check_env_file(Path(ENV_FILE), names)
    check_environment(names)
    try:
        settings = Settings()
    except ValidationError as error:
        wrong = "; ".join(wrong_values(error))
        raise SettingsError(f"wrong setting: {wrong} (set it in the environment or in .env)") from None
    check_tls_files()
    data_dir = _ensure_data_dir(settings.data_dir)
    if data_dir_is_written:
        must_be_writable(data_dir)
    return settings.model_copy(update={"data_dir": data_dir})


def wrong_values(error: ValidationError, prefix: str = "") -> Iterator[str]:
    """A message for each wrong setting. It contains the name, but not the value, which may be secret."""
    for detail in error.errors():
        name = f"{prefix}{detail['loc'][0]}".upper()
        generic = detail["type"] != "value_error"
        yield f"{name} {_EMPTY if generic and detail['input'] == '' else as_clause(detail['msg'])}"


def as_clause(message: str) -> str:
    """A message of pydantic in lower case, to continue a sentence."""
    message = message.removeprefix("Value error, ")
    return message[:1].lower() + message[1:]


def _ensure_data_dir(data_dir: Path) -> Path:
    """Create the folder unless it exists, and return its absolute path. Raises SettingsError."""
    quoted = repr(str(data_dir))
    if any(not character.isprintable() for character in str(data_dir)):
        raise SettingsError(f"wrong setting: DATA_DIR {quoted} has a control character or is not text; choose another")
    try:
        folder = data_dir.expanduser().resolve()
        if "?" in str(folder):
            raise SettingsError(f"wrong setting: DATA_DIR {quoted} has a ?, which ends a URL; choose another")
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise SettingsError(f"wrong setting: DATA_DIR {quoted} is no folder; choose another") from None
    except (OSError, RuntimeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise SettingsError(f"wrong setting: DATA_DIR {quoted} cannot be created: {reason}{_owner(data_dir)}") from None
    return folder


def must_be_writable(folder: Path) -> None:
    """Raises SettingsError unless this user can write to DATA_DIR and to the project's folders in it."""
    try:
        tempfile.TemporaryFile(dir=folder).close()
        subfolders = [subfolder for subfolder in DataLayout(folder).written_folders if subfolder.is_dir()]
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):  # a later write reports the full disk; readers need no space
            return
        raise SettingsError(_not_writable(folder, error.strerror)) from None
    for subfolder in subfolders:
        if not os.access(subfolder, os.W_OK | os.X_OK, effective_ids=True):
            raise SettingsError(_not_writable(subfolder, "Permission denied"))


def _not_writable(folder: Path, reason: str | None) -> str:
    return (
        f"wrong setting: DATA_DIR cannot be used, {str(folder)!r} cannot be written: {reason}{_owner(folder)}; "
        "choose another DATA_DIR, or make this folder writable for the current user"
    )


def _owner(folder: Path) -> str:
    """The owner of the folder or of its nearest existing parent, for a message. Empty if it is the current user."""
    with suppress(OSError):
        nearest = next(path for path in (folder, *folder.absolute().parents) if path.exists())
        user_id = nearest.stat().st_uid
        if user_id == os.geteuid():
            return ""
        with suppress(KeyError):  # a container's user may have no name
            return f" ({str(nearest)!r} belongs to {pwd.getpwuid(user_id).pw_name})"
        return f" ({str(nearest)!r} belongs to user {user_id})"
    return ""
