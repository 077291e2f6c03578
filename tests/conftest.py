"""Shared fixtures: an embedded Postgres with one database per test, the mock API, and a Prefect server."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

ROOT = Path(__file__).parent.parent
TRACEBACK = "Traceback (most recent call last)"

# Set this before anything imports Prefect, so that this test run has its own Prefect files.
os.environ["PREFECT_HOME"] = tempfile.mkdtemp(prefix="prefect-")
os.environ["PREFECT_API_URL"] = ""  # do not use the server that pyproject.toml names
# Variables of the shell must not point the tests to another Postgres.
for _name in [name for name in os.environ if name.startswith("PG")]:
    del os.environ[_name]

import certifi  # noqa: E402
import pytest  # noqa: E402
import requests  # noqa: E402
from psycopg import sql  # noqa: E402

from core import embedded_postgres  # noqa: E402
from core.clock import utc_now  # noqa: E402
from core.database import migrate  # noqa: E402
from core.sessions import open_connection  # noqa: E402
from demo.s3_server import s3_server  # noqa: E402
from tests.object_stores import Bucket, create_bucket  # noqa: E402

# Small data that is read quickly and still needs several pages.
USERS, TRACKS, SESSIONS, PAGE_SIZE = 300, 200, 500, 50
BASE_DAY = "2026-11-20"


TEMPORARY_FOLDER = tempfile.gettempdir()
# The settings of all ports of `make up`.
PORTS = ("PREFECT_SERVER_API_PORT", "MOCK_PORT", "DATA_DOCS_PORT", "SERVING_PORT", "KAFKA_PORT", "STREAM_METRICS_PORT")


# Fixtures that start a server for the whole test run.
SERVERS = {"postgres", "_mock_api", "prefect_server", "_s3"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuse unit tests that need a server: they belong to tests/integration, which `make check` leaves out."""
    for item in items:
        if item.path.is_relative_to(ROOT / "tests" / "unit") and (used := SERVERS & set(item.fixturenames)):  # type: ignore[attr-defined]
            raise pytest.UsageError(f"{item.nodeid} uses {', '.join(sorted(used))}: move it to tests/integration")


@pytest.fixture(autouse=True)
def _temporary_folder_is_restored() -> Iterator[None]:
    """Undo the change of the temporary folder that commands make: they use their DATA_DIR."""
    yield
    restore_temporary_folder()


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(fixturedef: pytest.FixtureDef[Any]) -> Generator[None, object, object]:
    """Undo the same change of shared fixtures. In so long a path, Chromium cannot open its socket."""
    result = yield
    if fixturedef.scope != "function":
        restore_temporary_folder()
    return result


def restore_temporary_folder() -> None:
    """Let this process and those that it starts use the temporary folder of the test run."""
    tempfile.tempdir = os.environ["TMPDIR"] = TEMPORARY_FOLDER


@pytest.fixture(autouse=True)
def _no_output_has_a_traceback(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test if this process or one that it starts prints a traceback.

    This checks the output that the test reads. The hook below checks the output that it does not read.
    """
    if request.path.is_relative_to(ROOT / "tests" / "unit"):
        yield
        return
    tracebacks: list[str] = []
    read_output, communicate = pytest.CaptureFixture.readouterr, subprocess.Popen.communicate

    def check(*texts: Any) -> None:
        for text in texts:
            output = text.decode(errors="replace") if isinstance(text, bytes) else text
            if isinstance(output, str) and TRACEBACK in output:
                tracebacks.append(output)

    def checked_readouterr(capture: Any) -> Any:
        result = read_output(capture)
        check(*result)
        return result

    def checked_communicate(process: Any, *arguments: Any, **options: Any) -> Any:
        result = communicate(process, *arguments, **options)
        check(*result)
        return result

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pytest.CaptureFixture, "readouterr", checked_readouterr)
        patch.setattr(subprocess.Popen, "communicate", checked_communicate)
        yield
    assert not tracebacks, f"the output has a traceback:\n{tracebacks[0]}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Fail a passed test if output that it did not read has a traceback."""
    report: Any = yield
    if call.when == "call" and report.passed and not item.path.is_relative_to(ROOT / "tests" / "unit"):
        for name, text in report.sections:
            if "log" not in name and TRACEBACK in text:
                report.outcome, report.longrepr = "failed", f"the output has a traceback ({name}):\n{text}"
    return report


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The URL of an embedded server of this test run.

    Its folder is outside pytest's own folder, which other users cannot enter, because Postgres does not run as root.
    """
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    folder.chmod(0o755)
    url = embedded_postgres.start(folder)
    with open_connection(url) as connection:
        for setting in ("fsync", "full_page_writes"):  # a crash of the machine ends the tests anyway
            connection.execute(sql.SQL("alter system set {} = off").format(sql.Identifier(setting)))
        connection.execute("select pg_reload_conf()")
    yield url
    embedded_postgres.stop_if_unused(folder)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def shared_folder() -> Iterator[Path]:
    """A folder that every user of this machine can enter, unlike pytest's own folder."""
    folder = Path(tempfile.mkdtemp(prefix="shared-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def _template(postgres: str) -> str:
    name = "template_moovitamix"
    with open_connection(postgres) as connection:
        connection.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
    migrate(url_of_database(postgres, name))
    return name


@pytest.fixture
def empty_database(postgres: str) -> Iterator[str]:
    """The URL of a database without the project's schemas."""
    with temporary_database(postgres, "template1") as url:
        yield url


@pytest.fixture
def database(postgres: str, _template: str) -> Iterator[str]:
    """The URL of a migrated database for this test alone."""
    with temporary_database(postgres, _template) as url:
        yield url


@contextmanager
def temporary_database(postgres: str, template: str, name: str = "") -> Iterator[str]:
    """Create a copy of a database, by default with a random name. Yields its URL, and deletes it."""
    name = name or f"test_{uuid4().hex[:12]}"
    with open_connection(postgres) as connection:
        connection.execute(
            sql.SQL("create database {} template {}").format(sql.Identifier(name), sql.Identifier(template))
        )
        try:
            yield url_of_database(postgres, name)
        finally:
            connection.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))


def with_time(statement: str) -> str:
    """Replace `:now` in a statement by the time of this machine: the clock of the database may differ."""
    return statement.replace(":now", f"timestamptz '{utc_now().isoformat()}'")


def url_of_database(url: str, name: str) -> str:
    return url.replace("/postgres?", f"/{name}?")


def all_rows(url: str, endpoint: str) -> list[dict[str, Any]]:
    """All current rows of an endpoint."""
    rows: list[dict[str, Any]] = []
    while True:
        params = {"page": len(rows) // 100 + 1, "size": 100}
        page = requests.get(f"{url}/{endpoint}", params=params, timeout=60).json()
        rows += page["items"]
        if len(rows) >= page["total"]:
            return rows


@dataclass
class MockApi:
    """A running mock API and its control endpoints."""

    url: str
    process: subprocess.Popen[str]

    def set_day(self, day: str) -> None:
        """Set the simulated day."""
        self._control("POST", "day", {"day": day})

    def set_faults(self, *groups: dict[str, Any]) -> None:
        """Replace all faults."""
        self._control("PUT", "faults", list(groups))

    def request_counts(self) -> dict[str, Any]:
        """The number of requests for each page since the last reset."""
        return requests.get(f"{self.url}/_control/requests", timeout=60).json()

    def reset(self) -> None:
        """Remove the faults, return to the base day and clear the request counts."""
        requests.delete(f"{self.url}/_control/faults", timeout=60).raise_for_status()
        requests.delete(f"{self.url}/_control/requests", timeout=60).raise_for_status()
        self.set_day(BASE_DAY)

    def rows(self, endpoint: str) -> list[dict[str, Any]]:
        """All current rows of an endpoint."""
        return all_rows(self.url, endpoint)

    def _control(self, method: str, name: str, content: Any) -> None:
        response = requests.request(method, f"{self.url}/_control/{name}", json=content, timeout=60)
        assert response.ok, response.text


def start_mock_api(*arguments: str) -> MockApi:
    """Start a mock API in its own process, on a free port."""
    command = [sys.executable, "-m", "mock_server", "--port", "0", "--day", BASE_DAY, *arguments]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    line = process.stdout.readline()
    assert line.startswith("mock API ready: "), line
    return MockApi(line.split()[-1], process)


@pytest.fixture(scope="session")
def _mock_api() -> Iterator[MockApi]:
    sizes = ["--users", str(USERS), "--tracks", str(TRACKS), "--sessions", str(SESSIONS)]
    api = start_mock_api(*sizes)
    yield api
    api.process.terminate()
    api.process.communicate(timeout=60)


@pytest.fixture
def api(_mock_api: MockApi) -> Iterator[MockApi]:
    """The mock API on its base day, without faults."""
    _mock_api.reset()
    yield _mock_api
    _mock_api.reset()


@pytest.fixture
def environment(api: MockApi, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Settings for one test: its own database and data folder, short time-outs. Returns the data folder."""
    for name in [name for name in os.environ if name.startswith("THRESHOLD_")]:
        monkeypatch.delenv(name)
    values = {
        "MOOVITAMIX_API_URL": api.url,
        "DATABASE_URL": database,
        "DATA_DIR": str(tmp_path / "data"),
        "PAGE_SIZE": str(PAGE_SIZE),
        "READ_TIMEOUT_SECONDS": "2",
        "GIVE_UP_AFTER_SECONDS": "6",
        "LOCK_WAIT_SECONDS": "2",
    }
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("MOOVITAMIX_API_TOKEN", raising=False)
    return tmp_path / "data"


@pytest.fixture(scope="session")
def prefect_database(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A template of a Prefect database without runs. Migrating a new database takes six CPU seconds.

    All workers of a test run share it. Commands that start a temporary server copy it from PREFECT_HOME.
    """
    from core.file_locks import exclusive_lock
    from flows.temporary_prefect_server import DATABASE, _start

    base = tmp_path_factory.getbasetemp()
    home = (base if worker_id == "master" else base.parent) / "prefect-template"
    home.mkdir(exist_ok=True)
    with exclusive_lock(home / "template.lock"):
        if not (home / DATABASE).exists():
            _start(home, home).stop()
    shutil.copy(home / DATABASE, Path(os.environ["PREFECT_HOME"]) / DATABASE)
    return home / DATABASE


@pytest.fixture(scope="session")
def prefect_server(prefect_database: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A Prefect server with its own database, for the flows of this test run. Its log is a file."""
    from prefect.settings import (
        PREFECT_API_BLOCKS_REGISTER_ON_START,
        PREFECT_API_SSL_CERT_FILE,
        PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
        PREFECT_SERVER_DATABASE_MIGRATE_ON_START,
        temporary_settings,
    )
    from prefect.testing import utilities

    folder = tempfile.mkdtemp(prefix="prefect-server-")  # Prefect deletes it
    shutil.copy(prefect_database, Path(folder) / "prefect-test.db")
    # Each Prefect client loads all certificate authorities for 20 ms, also for a server that uses no TLS.
    one_authority = Path(folder) / "one-authority.pem"
    first, end, _ = certifi.contents().partition("-----END CERTIFICATE-----\n")
    one_authority.write_text(first + end)
    server_settings = {
        PREFECT_SERVER_DATABASE_MIGRATE_ON_START: False,
        PREFECT_API_BLOCKS_REGISTER_ON_START: False,
        PREFECT_API_SSL_CERT_FILE: str(one_authority),
    }
    with ExitStack() as stack:
        stack.enter_context(temporary_settings(server_settings))
        log_file = tmp_path_factory.mktemp("prefect-server") / "server.log"
        with log_file.open("wb") as log, pytest.MonkeyPatch.context() as patch:
            names = vars(subprocess) | {"Popen": partial(subprocess.Popen, stdout=log, stderr=log)}
            patch.setattr("prefect.server.api.server.subprocess", SimpleNamespace(**names))
            patch.setattr(utilities, "mkdtemp", lambda: folder)
            stack.enter_context(utilities.prefect_test_harness(server_startup_timeout=600))
        stack.enter_context(temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}))
        yield


Query = Callable[..., list[tuple[Any, ...]]]


@pytest.fixture
def query(database: str) -> Iterator[Query]:
    """A function that runs a query in the test's database."""
    with open_connection(database) as connection:
        yield lambda text, *parameters: connection.execute(text, parameters or None).fetchall()


@pytest.fixture(scope="session")
def _s3() -> Iterator[str]:
    with s3_server() as url:
        yield url


@pytest.fixture
def bucket(_s3: str) -> Bucket:
    """An empty bucket of a local S3 server."""
    return create_bucket(_s3)
