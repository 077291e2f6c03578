"""The checks of `moovitamix doctor`. Each checks one part of the installation.

The checks change nothing, with two exceptions: they write and delete a file in each object store, and they start a
stopped embedded Postgres for its check and stop it afterwards.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from uuid import uuid4

import requests

from core.addresses import refuse_port_in_use
from core.data_layout import DataLayout
from core.database import connect, ensure_database, is_migrated, newest_migration
from core.endpoints import ENDPOINTS
from core.errors import MoovitamixError, ObjectStoreError, SettingsError, named_errors
from core.roles import INGEST, RECOMMENDER, ROLES, SERVING, Role, in_role, login_url
from core.settings import Settings
from core.stores import object_stores
from core.tcp_access import LOGIN, tcp_access_of
from expectations.thresholds import load_thresholds
from notifications import health_checks
from notifications.health_checks import HealthUnknown, in_mb
from notifications.incident_types import disk_limit
from pipeline.client import ApiClient
from services.local_services import HOST, LocalServices, load_local_services
from services.supervision import SupervisedProcess, Supervisor

Status = Literal["ok", "skipped", "problem"]
_SECONDS = 5.0


@dataclass(frozen=True)
class Check:
    """The result of one check. `fix` says what to do about a problem."""

    name: str
    status: Status
    detail: str
    fix: str = ""


def all_checks() -> Iterator[Check]:
    """Check every part. If the settings are not usable, check only the settings."""
    try:
        services = load_local_services()
        load_thresholds()
    except SettingsError as error:
        yield Check("settings", "problem", str(error), "correct it in .env or in the environment; see .env.example")
        return
    source = ".env and the environment" if Path(".env").exists() else "the environment; there is no .env"
    yield Check("settings", "ok", f"read from {source}; DATA_DIR is {services.settings.data_dir}")
    processes = Supervisor(services).states()
    yield from check_ports(services, processes)
    yield from check_database(services.settings)
    yield from check_object_stores(services.settings)
    yield check_disk(services.settings)
    yield check_source_api(services, running=bool(processes))
    yield from check_prefect(services, processes)


def check_object_stores(settings: Settings) -> Iterator[Check]:
    """Each object store stores, lists, returns and deletes a file."""
    if not object_stores(settings):
        yield Check("object stores", "skipped", "raw pages, models, backups and Data Docs are in DATA_DIR")
    quick_settings = settings.model_copy(update={"give_up_after_seconds": _SECONDS})
    for setting, store in object_stores(quick_settings).items():
        name, content = f"doctor/{uuid4().hex}", b"written by moovitamix doctor"
        try:
            store.write(name, content)
            is_listed = name in [file.name for file in store.files("doctor")]
            is_stored = is_listed and store.read(name) == content
            store.delete(name)
        except (ObjectStoreError, FileNotFoundError) as error:
            yield Check(setting, "problem", str(error), "see docs/object-storage.md")
            continue
        if is_stored:
            yield Check(setting, "ok", f"{store.location} stores, lists, returns and deletes files")
        else:
            detail = f"{store.location} does not return what was just written"
            yield Check(setting, "problem", detail, "use a store with read-after-write consistency")


def check_ports(services: LocalServices, processes: list[SupervisedProcess]) -> Iterator[Check]:
    """While `make up` runs, each port answers. Otherwise each port is free. No two settings share a port."""
    states = {process.name: process.state for process in processes}
    settings_by_port: dict[int, str] = {}
    for process in services.processes():
        if process.port is None or process.setting is None:
            continue
        name, port = f"port {process.port}", process.port
        restart = f"read {services.layout.log(process.name)}, then run `moovitamix down` and `moovitamix up`"
        change_port = f"stop the program that uses the port, or set {process.setting} in .env to another port"
        if port in settings_by_port:
            detail = f"{settings_by_port[port]} and {process.setting} are both {port}"
            yield Check(name, "problem", detail, f"set {process.setting} in .env to another port")
        elif states and process.health_url:
            failure = health_checks.page_problem(process.health_url)
            detail = f"{process.name} does not answer: {failure}" if failure else f"{process.name} answers"
            yield Check(name, "problem", detail, restart) if failure else Check(name, "ok", detail)
        elif states.get(process.name) == "RUNNING":  # it has no URL, so only its port shows whether it listens
            if port_failure(port) is None:
                yield Check(name, "problem", f"{process.name} does not listen", restart)
            else:
                yield Check(name, "ok", f"{process.name} listens")
        elif failure := port_failure(port):
            yield Check(name, "problem", f"{process.name} cannot use it: {failure}", change_port)
        else:
            yield Check(name, "ok", f"free for {process.name}")
        settings_by_port.setdefault(port, process.setting)


def port_failure(port: int) -> str | None:
    """Why a service cannot listen on the port; None if it can."""
    try:
        refuse_port_in_use(HOST, port)
    except OSError as error:
        return error.strerror or str(error)
    return None


def check_database(settings: Settings) -> Iterator[Check]:
    """The server answers, its schema has this version, and each login can take its role."""
    if settings.embedded and not DataLayout(settings.data_dir).postgres_version.exists():
        detail = "not created yet; the first command that needs it creates it"
        yield Check("database", "skipped", detail)
        yield Check("roles", "skipped", "they are created with the schema")
        return
    try:
        with named_errors():
            owner = settings.embedded or bool(settings.database_url.get_secret_value())
            url = ensure_database(settings) if owner else login_url(settings)
            with connect(url) as connection:
                server = f"PostgreSQL {connection.info.server_version // 10_000}"
                migrated = is_migrated(connection)
                existing = {name for (name,) in connection.execute("select rolname from pg_roles")}
    except MoovitamixError as error:
        database_name = "embedded Postgres" if settings.embedded else "DATABASE_URL"
        log = DataLayout(settings.data_dir).postgres_log
        fix = f"read {log}" if settings.embedded else "check DATABASE_URL, and that the server runs"
        yield Check("database", "problem", f"{database_name}: {error}", fix)
        yield Check("roles", "skipped", "the database does not answer")
        return
    if migrated:
        yield Check("database", "ok", f"{server}, schema {newest_migration()}")
    else:
        fix = "run `moovitamix migrate` with the owner's DATABASE_URL"
        yield Check("database", "problem", f"{server}, schema is not {newest_migration()}", fix)
    yield from _check_tcp_access(settings)
    missing = [role for role in ROLES if role not in existing]
    if missing:
        fix = "run `moovitamix migrate`, with a login that may create roles"
        yield Check("roles", "problem", f"missing: {', '.join(missing)}", fix)
        return
    yield _check_roles(settings, url)


def _check_tcp_access(settings: Settings) -> Iterator[Check]:
    access = tcp_access_of(settings)
    if access is None or not settings.embedded:
        return
    name = f"port {access.port}"
    try:
        connect(access.url).close()
    except MoovitamixError as error:
        fix = "wait until no command runs, then run `moovitamix down` and `moovitamix up`: they open the port"
        yield Check(name, "problem", f"{LOGIN} cannot connect: {error}", fix)
    else:
        yield Check(name, "ok", f"{LOGIN} can connect to embedded Postgres")


def _check_roles(settings: Settings, url: str) -> Check:
    logins: dict[Role, str] = {
        INGEST: settings.ingest_database_url.get_secret_value(),
        RECOMMENDER: settings.recommender_database_url.get_secret_value(),
        SERVING: settings.serving_database_url.get_secret_value(),
    }
    owner = settings.embedded or bool(settings.database_url.get_secret_value())
    for role, login in logins.items():
        if not login and not (settings.embedded or (owner and role != SERVING)):
            continue  # this machine does not use that role
        try:
            with connect(in_role(login or url, role)):
                pass
        except MoovitamixError as error:
            return Check("roles", "problem", f"{role}: {error}", f"as an administrator, run: grant {role} to <login>;")
    return Check("roles", "ok", f"all {len(ROLES)} exist, and the logins of the settings can take them")


def check_disk(settings: Settings) -> Check:
    """The disk of DATA_DIR has more room than the watchdog demands."""
    space = health_checks.disk(settings.data_dir)
    detail = f"{in_mb(space)} are free at {settings.data_dir}"
    if space.free >= disk_limit(space, settings):
        return Check("disk", "ok", detail)
    fix = "free some space, for example with `moovitamix maintain --retention-days 3`, or lower ALERT_DISK_FREE_MB"
    return Check("disk", "problem", detail, fix)


def check_source_api(services: LocalServices, *, running: bool) -> Check:
    """The first page of each endpoint can be read like in an ingest, but without retries."""
    settings = services.settings
    if services.uses_mock_api and not running and port_failure(services.ports.mock_port) is None:
        return Check("source API", "skipped", "the mock API does not run; start it with `moovitamix up`")
    single_try = settings.model_copy(
        update={"fetch_tries": 1, "connect_timeout_seconds": _SECONDS, "read_timeout_seconds": _SECONDS, "page_size": 1}
    )
    try:
        with named_errors():
            client = ApiClient(single_try)
            totals = {endpoint: client.fetch_page(endpoint, 1).total for endpoint in ENDPOINTS}
    except MoovitamixError as error:
        fix = "check MOOVITAMIX_API_URL, MOOVITAMIX_API_TOKEN and the network"
        if services.uses_mock_api:
            fix = "run `moovitamix up`, or `moovitamix mock`; for another API, set MOOVITAMIX_API_URL"
        return Check("source API", "problem", str(error), fix)
    rows = ", ".join(f"{total:,} {endpoint}" for endpoint, total in totals.items())
    return Check("source API", "ok", f"{settings.source}: {rows}")


def check_prefect(services: LocalServices, processes: list[SupervisedProcess]) -> Iterator[Check]:
    """Prefect's server answers, and a worker reports to it. Skipped if no server was started or named."""
    address = os.environ.get("PREFECT_API_URL", "").rstrip("/")
    api_url = address or f"{services.prefect_url}/api"
    if not processes and not address:
        detail = "does not run; flows need it only for schedules and the UI: `moovitamix up`"
        yield Check("Prefect server", "skipped", detail)
        yield Check("Prefect worker", "skipped", "the server does not run")
        return
    failure = health_checks.page_problem(f"{api_url}/health")
    if failure:
        fix = "run `moovitamix up`" if not address else "check PREFECT_API_URL, or unset it and run `moovitamix up`"
        if processes:
            fix = f"read {services.layout.log('prefect-server')}, then run `moovitamix down` and `moovitamix up`"
        yield Check("Prefect server", "problem", f"{api_url} does not answer: {failure}", fix)
        yield Check("Prefect worker", "skipped", "the server does not answer")
        return
    yield Check("Prefect server", "ok", api_url)
    yield _check_worker(services, api_url)


def _check_worker(services: LocalServices, api_url: str) -> Check:
    name, fix = (
        "Prefect worker",
        "run `moovitamix up`; if it runs already, read " + str(services.layout.log("worker")),
    )
    login = services.prefect_login or os.environ.get("PREFECT_API_AUTH_STRING", "")
    try:
        failure = health_checks.worker_problem(api_url, login)
    except HealthUnknown as error:
        response = error.__cause__.response if isinstance(error.__cause__, requests.HTTPError) else None
        status = response.status_code if response is not None else 0
        if status == 404:
            return Check(name, "problem", "a work pool does not exist", "run `moovitamix up`")
        if status in (401, 403):
            fix = "set PREFECT_SERVER_API_AUTH_STRING to the login of the server"
        return Check(name, "problem", "the server does not say whether a worker reports", fix)
    return Check(name, "problem", failure, fix) if failure else Check(name, "ok", "a worker reports to each work pool")
