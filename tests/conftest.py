"""What tests stand on: a real Postgres with a database each, the API's stand-in, and a Prefect server for flows."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

ROOT = Path(__file__).parent.parent
TRACEBACK = "Traceback (most recent call last)"

# Before anything imports Prefect: its files belong to this test run alone.
os.environ["PREFECT_HOME"] = tempfile.mkdtemp(prefix="prefect-")
os.environ["PREFECT_API_URL"] = ""  # not the server that pyproject.toml names for people
# Tests also connect by themselves, and the shell they are started in may have another Postgres in mind.
for _name in [name for name in os.environ if name.startswith("PG")]:
    del os.environ[_name]

import pytest  # noqa: E402
import requests  # noqa: E402
from psycopg import sql  # noqa: E402

from core import embedded_postgres  # noqa: E402
from core.database import migrate  # noqa: E402
from core.sessions import open_connection  # noqa: E402

# A world small enough to read in a blink, in several pages.
USERS, TRACKS, SESSIONS, PAGE_SIZE = 300, 200, 500, 50
BASE_DAY = "2026-11-20"


TEMPORARY_FOLDER = tempfile.gettempdir()


@pytest.fixture(autouse=True)
def _temporary_files_stay_where_they_were() -> Iterator[None]:
    """A command that a test calls keeps its temporary files in its DATA_DIR from then on."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", TEMPORARY_FOLDER)
        patch.setenv("TMPDIR", TEMPORARY_FOLDER)
        yield
    tempfile.tempdir = TEMPORARY_FOLDER


@pytest.fixture(autouse=True)
def _nobody_is_shown_a_traceback(request: pytest.FixtureRequest) -> Iterator[None]:
    """Whatever a test provokes: neither this process nor one that it starts may print a traceback.

    Looks at what tests read of their own output and of their processes; what nobody reads, see the hook below.
    """
    if request.path.is_relative_to(ROOT / "tests" / "unit"):
        yield
        return
    shown: list[str] = []
    read_output, communicate = pytest.CaptureFixture.readouterr, subprocess.Popen.communicate

    def note(*texts: Any) -> None:
        for text in texts:
            told = text.decode(errors="replace") if isinstance(text, bytes) else text
            if isinstance(told, str) and TRACEBACK in told:
                shown.append(told)

    def readouterr(capture: Any) -> Any:
        result = read_output(capture)
        note(*result)
        return result

    def communicated(process: Any, *arguments: Any, **named: Any) -> Any:
        result = communicate(process, *arguments, **named)
        note(*result)
        return result

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pytest.CaptureFixture, "readouterr", readouterr)
        patch.setattr(subprocess.Popen, "communicate", communicated)
        yield
    assert not shown, f"a person was shown a traceback:\n{shown[0]}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Fail a test that passed and whose output, which nobody read, holds a traceback."""
    report: Any = yield
    if call.when == "call" and report.passed and not item.path.is_relative_to(ROOT / "tests" / "unit"):
        for name, text in report.sections:
            if "log" not in name and TRACEBACK in text:
                report.outcome, report.longrepr = "failed", f"a person was shown a traceback ({name}):\n{text}"
    return report


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The URL of an embedded server of this test run, not below pytest's own folder: that is closed to other users,
    and Postgres does not run as root."""
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    folder.chmod(0o755)
    url = embedded_postgres.start(folder)
    with open_connection(url) as connection:
        for setting in ("fsync", "full_page_writes"):  # no test outlives a crash of the machine
            connection.execute(sql.SQL("alter system set {} = off").format(sql.Identifier(setting)))
        connection.execute("select pg_reload_conf()")
    yield url
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def shared_folder() -> Iterator[Path]:
    """A folder that every user of this machine may enter, unlike pytest's own."""
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
    """The URL of a database without any schema of ours."""
    yield from new_database(postgres, "template1")


@pytest.fixture
def database(postgres: str, _template: str) -> Iterator[str]:
    """The URL of a migrated database that only this test has."""
    yield from new_database(postgres, _template)


def new_database(postgres: str, template: str) -> Iterator[str]:
    name = f"test_{uuid4().hex[:12]}"
    with open_connection(postgres) as connection:
        connection.execute(
            sql.SQL("create database {} template {}").format(sql.Identifier(name), sql.Identifier(template))
        )
        yield url_of_database(postgres, name)
        connection.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))


def url_of_database(url: str, name: str) -> str:
    return url.replace("/postgres?", f"/{name}?")


def all_rows(url: str, endpoint: str) -> list[dict[str, Any]]:
    """The whole list of an endpoint as it is now."""
    rows: list[dict[str, Any]] = []
    while True:
        params = {"page": len(rows) // 100 + 1, "size": 100}
        page = requests.get(f"{url}/{endpoint}", params=params, timeout=5).json()
        rows += page["items"]
        if len(rows) >= page["total"]:
            return rows


@dataclass
class MockApi:
    """A running stand-in of the API, and its controls."""

    url: str
    process: subprocess.Popen[str]

    def set_day(self, day: str) -> None:
        """Let the simulated day be `day`."""
        self._control("POST", "day", {"day": day})

    def set_faults(self, *groups: dict[str, Any]) -> None:
        """Replace all faults."""
        self._control("PUT", "faults", list(groups))

    def request_counts(self) -> dict[str, Any]:
        """How often each page was asked for since the last reset."""
        return requests.get(f"{self.url}/_control/requests", timeout=5).json()

    def reset(self) -> None:
        """No faults, the base day, no requests counted."""
        requests.delete(f"{self.url}/_control/faults", timeout=5).raise_for_status()
        requests.delete(f"{self.url}/_control/requests", timeout=5).raise_for_status()
        self.set_day(BASE_DAY)

    def rows(self, endpoint: str) -> list[dict[str, Any]]:
        """The whole list of an endpoint as it is now."""
        return all_rows(self.url, endpoint)

    def _control(self, method: str, name: str, content: Any) -> None:
        answer = requests.request(method, f"{self.url}/_control/{name}", json=content, timeout=5)
        assert answer.ok, answer.text


def start_mock_api(*arguments: str) -> MockApi:
    """A stand-in in a process of its own, on a free port."""
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
    api.process.communicate(timeout=10)


@pytest.fixture
def api(_mock_api: MockApi) -> Iterator[MockApi]:
    """The stand-in on its base day, without faults."""
    _mock_api.reset()
    yield _mock_api
    _mock_api.reset()


@pytest.fixture
def environment(api: MockApi, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Settings for one test: its own database and data folder, quick time-outs. Returns the data folder."""
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
    """A Prefect database without runs, for copying: the migrations of a new one take six CPU seconds.

    All workers of a test run share it. Commands that start a temporary server take it from PREFECT_HOME.
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
def prefect_server(prefect_database: Path) -> Iterator[None]:
    """A Prefect server for the flows of this test run, with its own database."""
    from prefect.settings import (
        PREFECT_API_BLOCKS_REGISTER_ON_START,
        PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
        PREFECT_SERVER_DATABASE_MIGRATE_ON_START,
        temporary_settings,
    )
    from prefect.testing import utilities

    folder = tempfile.mkdtemp(prefix="prefect-server-")  # Prefect deletes it
    shutil.copy(prefect_database, Path(folder) / "prefect-test.db")
    ready = {PREFECT_SERVER_DATABASE_MIGRATE_ON_START: False, PREFECT_API_BLOCKS_REGISTER_ON_START: False}
    with pytest.MonkeyPatch.context() as patch, temporary_settings(ready):
        patch.setattr(utilities, "mkdtemp", lambda: folder)
        with (
            utilities.prefect_test_harness(server_startup_timeout=120),
            temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}),
        ):
            yield


Query = Callable[..., list[tuple[Any, ...]]]


@pytest.fixture
def query(database: str) -> Iterator[Query]:
    """Ask the test's database something."""
    with open_connection(database) as connection:
        yield lambda text, *parameters: connection.execute(text, parameters or None).fetchall()
