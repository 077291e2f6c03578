"""`moovitamix` on a real embedded Postgres and a real mock API."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.conftest import PORTS, ROOT, TEMPORARY_FOLDER, MockApi
from tests.integration.serving.api import free_port
from tests.ordinary_user import bare_environment


@dataclass
class Installation:
    """A DATA_DIR with an embedded Postgres, and free ports for its services."""

    environment: dict[str, str]

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run `moovitamix`."""
        return subprocess.run(
            [sys.executable, "-m", "cli", *arguments],
            cwd=ROOT,
            env=self.environment | environment,
            capture_output=True,
            text=True,
            check=False,
        )

    def doctor(self, **environment: str) -> dict[str, dict[str, str]]:
        """The checks of `moovitamix doctor` by name. Asserts a fix for each problem, and the exit code."""
        result = self.run("doctor", "--json", **environment)
        document: dict[str, Any] = json.loads(result.stdout)
        problems = [check for check in document["checks"] if check["status"] == "problem"]
        assert (result.returncode, document["healthy"]) == ((1, False) if problems else (0, True))
        assert all(check["fix"] for check in problems)
        return {check["name"]: check for check in document["checks"]}


@pytest.fixture(scope="module")
def data_dir() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="cli-", dir=TEMPORARY_FOLDER))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def installation(data_dir: Path, api: MockApi) -> Installation:
    ports = {name: str(free_port()) for name in PORTS}
    disk_limits = {"ALERT_DISK_FREE_SHARE": "0", "ALERT_DISK_FREE_MB": "0"}
    return Installation(bare_environment(DATA_DIR=str(data_dir), MOOVITAMIX_API_URL=api.url, **ports, **disk_limits))


def test_doctor_finds_no_problems_in_a_new_installation(installation: Installation) -> None:
    checks = installation.doctor()
    assert {name: check["status"] for name, check in checks.items() if not name.startswith("port")} == {
        "settings": "ok", "database": "skipped", "roles": "skipped", "disk": "ok", "source API": "ok",
        "Prefect server": "skipped", "Prefect worker": "skipped", "object stores": "skipped",
    }  # fmt: skip
    assert [check["status"] for name, check in checks.items() if name.startswith("port")] == [
        "ok"
    ] * 5  # not the port of the mock API, because the settings name another API


def test_psql_is_read_only_unless_owner_is_requested(installation: Installation) -> None:
    migrated = installation.run("migrate")
    assert migrated.returncode == 0, migrated.stderr
    checks = installation.doctor()
    assert (checks["database"]["status"], checks["roles"]["status"]) == ("ok", "ok")

    analyst = installation.run("psql", "-c", "select current_role")
    assert "moovitamix_analyst" in analyst.stdout, analyst.stderr
    assert "0" in installation.run("psql", "-c", "select count(*) from mart.fact_listens").stdout
    refused = installation.run("psql", "-c", "delete from mart.dim_users")
    assert refused.returncode != 0
    assert "permission denied" in refused.stderr
    owner = installation.run("psql", "--owner", "-c", "delete from ops.runs")
    assert (owner.returncode, owner.stdout) == (0, "DELETE 0\n"), owner.stderr


def read_until(screen: FileIO, *texts: bytes) -> None:
    """Read until the texts were shown, one after the other."""
    shown = b""
    for text in texts:
        while text not in shown:
            shown += screen.read(4096) or b""
        shown = shown.partition(text)[2]


def test_interrupt_cancels_the_query_of_psql_and_keeps_its_session(database: str, tmp_path: Path) -> None:
    controller, terminal = os.openpty()
    options = {"DATA_DIR": str(tmp_path / "data"), "PSQL_HISTORY": os.devnull, "PSQL_PAGER": "cat"}
    environment = bare_environment(DATABASE_URL=database, **options)
    command = [sys.executable, "-m", "cli", "psql", "--owner"]
    with (
        psycopg.connect(database, autocommit=True) as connection,
        subprocess.Popen(
            command, cwd=ROOT, env=environment, stdin=terminal, stdout=terminal, stderr=terminal, start_new_session=True
        ) as process,
        os.fdopen(controller, "r+b", buffering=0) as screen,
    ):
        os.close(terminal)
        read_until(screen, b"=# ")
        screen.write(b"select pg_sleep(600);\n")
        sleeping = "select from pg_stat_activity where wait_event = 'PgSleep' and datname = current_database()"
        while not connection.execute(sleeping).fetchall():
            assert process.poll() is None
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does for Ctrl-C
        read_until(screen, b"canceling statement due to user request", b"=# ")
        screen.write(b"select 'session ' || 'goes on';\n")
        read_until(screen, b"session goes on", b"=# ")
        screen.write(b"\\q\n")
        assert process.wait() == 0


def test_doctor_names_a_schema_and_roles_that_are_not_up_to_date(installation: Installation) -> None:
    assert installation.run("migrate").returncode == 0
    version = installation.run("psql", "--owner", "-c", "select version_num from ops.schema_version").stdout.split()[2]
    change = "update ops.schema_version set version_num = '{}'; alter role {} rename to {}"
    installation.run("psql", "--owner", "-c", change.format("0001", "moovitamix_analyst", "renamed_role"))
    try:
        checks = installation.doctor()
        assert (checks["database"]["status"], checks["roles"]["status"]) == ("problem", "problem")
        assert "moovitamix migrate" in checks["database"]["fix"]
        assert checks["roles"]["detail"] == "missing: moovitamix_analyst"
    finally:
        installation.run("psql", "--owner", "-c", change.format(version, "renamed_role", "moovitamix_analyst"))
    assert installation.doctor()["roles"]["status"] == "ok"


def test_doctor_names_each_broken_part(installation: Installation, api: MockApi) -> None:
    used_port = api.url.rpartition(":")[2]
    unreachable = f"http://127.0.0.1:{free_port()}"
    checks = installation.doctor(
        DATA_DOCS_PORT=used_port,
        SERVING_PORT=installation.environment["PREFECT_SERVER_API_PORT"],
        MOOVITAMIX_API_URL=unreachable,
        DATABASE_URL=f"postgresql://nobody:hunter2@127.0.0.1:{free_port()}/moovitamix",
        ALERT_DISK_FREE_MB="1000000000",
        PREFECT_API_URL=f"{unreachable}/api",
    )
    shared = installation.environment["PREFECT_SERVER_API_PORT"]
    assert {name for name, check in checks.items() if check["status"] == "problem"} == {
        f"port {used_port}", f"port {shared}", "database", "disk", "source API", "Prefect server",
    }  # fmt: skip
    assert checks[f"port {shared}"]["detail"] == f"SERVING_PORT and PREFECT_SERVER_API_PORT are both {shared}"
    assert "DATA_DOCS_PORT" in checks[f"port {used_port}"]["fix"]
    assert "hunter2" not in json.dumps(checks)


def test_doctor_reports_only_the_settings_if_they_are_wrong(installation: Installation) -> None:
    checks = installation.doctor(RETENTION_DAYS="never")
    assert list(checks) == ["settings"]
    assert "RETENTION_DAYS" in checks["settings"]["detail"]


def test_doctor_names_the_token_when_the_source_api_refuses(installation: Installation, api: MockApi) -> None:
    api.set_faults({"status": 401})
    check = installation.doctor()["source API"]
    assert check["status"] == "problem"
    assert "MOOVITAMIX_API_TOKEN" in check["fix"]


@pytest.mark.parametrize(
    "line",
    ["replay not-a-batch", "erase -1 --reason r --requested-by t"],
)
def test_flow_command_equals_its_module(line: str, installation: Installation) -> None:
    name, *arguments = line.split()
    by_module = subprocess.run(
        [sys.executable, "-m", f"flows.{name}", *arguments],
        cwd=ROOT, env=installation.environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    by_tool = installation.run(name, *arguments)
    assert by_module.returncode == 2
    assert (by_tool.returncode, by_tool.stdout, by_tool.stderr) == (2, by_module.stdout, by_module.stderr)


def test_flow_prints_its_result_as_json_from_any_folder(installation: Installation, tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "cli", "monitor", "--json"],
        cwd=tmp_path, env=installation.environment | {"PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["flow"] == "monitor"
    assert list(tmp_path.iterdir()) == []


def test_tcp_port_needs_a_password_and_doctor_connects_to_it(installation: Installation) -> None:
    port = str(free_port())
    detail = installation.doctor(EMBEDDED_TCP_PORT=port)["settings"]["detail"]
    assert "EMBEDDED_TCP_PASSWORD must be set with EMBEDDED_TCP_PORT" in detail
    access = {"EMBEDDED_TCP_PORT": port, "EMBEDDED_TCP_PASSWORD": "correct horse"}
    assert installation.run("migrate", **access).returncode == 0
    assert installation.doctor(**access)[f"port {port}"]["status"] == "ok"


def test_an_ingest_imports_no_models_and_no_great_expectations_before_it_needs_them() -> None:
    code = "import sys, flows.ingest; print(*{name.partition('.')[0] for name in sys.modules})"
    modules = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert not {"scipy", "sklearn", "pandas", "great_expectations"} & set(modules.split())
