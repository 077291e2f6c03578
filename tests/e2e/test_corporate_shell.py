"""Commands in a corporate shell: requests to the source use the proxy, local connections never do."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from tests.conftest import BASE_DAY, PAGE_SIZE, ROOT, MockApi
from tests.corporate_proxy import SOURCE, corporate_proxy

UNREACHABLE = "127.0.0.1:9"


def ingest(database: str, folder: Path, source: str, **shell: str) -> subprocess.CompletedProcess[str]:
    """Ingest the tracks of one day. The command starts a temporary Prefect server."""
    names = ("PREFECT_API_URL", "PREFECT_HOME")
    clean = {
        name: value for name, value in os.environ.items() if name not in names and not name.lower().endswith("_proxy")
    }
    settings = {"DATABASE_URL": database, "DATA_DIR": str(folder), "PAGE_SIZE": str(PAGE_SIZE), "FETCH_TRIES": "2"}
    return subprocess.run(
        [sys.executable, "-m", "flows.ingest", "--day", BASE_DAY, "--endpoint", "tracks"],
        cwd=ROOT,
        env=clean | settings | {"MOOVITAMIX_API_URL": source} | shell,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )


def sources(database: str) -> list[tuple[str, str]]:
    """The source and status of each batch."""
    with psycopg.connect(database) as connection:
        return [tuple(row) for row in connection.execute("select source, status from ops.batches").fetchall()]


def test_only_the_source_is_requested_through_the_proxy(api: MockApi, database: str, tmp_path: Path) -> None:
    with corporate_proxy(api.url) as proxy:
        shell = {"HTTP_PROXY": proxy.url, "https_proxy": proxy.url, "NO_PROXY": "[::1]:80,.corp.example"}
        result = ingest(database, tmp_path, f"http://{SOURCE}", **shell)
    assert result.returncode == 0, result.stdout + result.stderr
    assert set(proxy.hosts) == {SOURCE}
    assert sources(database) == [(f"http://{SOURCE}", "published")]


@pytest.mark.parametrize(
    "shell",
    [
        {
            "HTTP_PROXY": f"http://{UNREACHABLE}",
            "https_proxy": UNREACHABLE,
            "ALL_PROXY": f"socks5://{UNREACHABLE}",
            "all_proxy": "nonsense",
        },
    ],
    ids=["unreachable, SOCKS without its package, invalid"],
)
def test_unusable_proxies_do_not_affect_local_connections(
    shell: dict[str, str], api: MockApi, database: str, prefect_database: Path, tmp_path: Path
) -> None:
    (tmp_path / "prefect").mkdir()
    shutil.copy(prefect_database, tmp_path / "prefect")
    result = ingest(database, tmp_path, api.url, **shell)
    assert result.returncode == 0, result.stdout + result.stderr
    assert sources(database) == [(api.url, "published")]


def test_socks_proxy_without_its_package_gives_one_error_line(database: str, tmp_path: Path) -> None:
    result = ingest(database, tmp_path, f"http://{SOURCE}", ALL_PROXY="socks5h://user:secret@proxy.example:1080")
    output = result.stdout + result.stderr
    assert (result.returncode, output.count("\n")) == (2, 1), output
    assert "socks5h://proxy.example:1080 (ALL_PROXY) is a SOCKS proxy, and the package PySocks is missing" in output
    assert "secret" not in output
    assert "Traceback" not in output


def test_missing_certificate_file_gives_one_error_line(api: MockApi, database: str, tmp_path: Path) -> None:
    result = ingest(database, tmp_path, api.url, SSL_CERT_FILE=str(tmp_path / "missing.pem"))
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert "SSL_CERT_FILE" in result.stderr


def test_prefect_command_sends_no_telemetry_from_this_folder(tmp_path: Path) -> None:
    clean = {
        name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "DO_NOT_TRACK", "CI"))
    }
    with corporate_proxy("http://127.0.0.1:9") as proxy:  # all outgoing requests would use it
        shell = {"HOME": str(tmp_path), "HTTPS_PROXY": proxy.url, "HTTP_PROXY": proxy.url, "NO_PROXY": "127.0.0.1"}
        command = [sys.executable, "-m", "prefect", "deployment", "ls"]
        devnull = subprocess.DEVNULL  # without a server, Prefect prints a traceback
        subprocess.run(command, cwd=ROOT, env=clean | shell, stdout=devnull, stderr=devnull, check=False, timeout=600)
    assert proxy.hosts == []


def test_prefect_command_reads_the_projects_settings_in_this_folder(tmp_path: Path) -> None:
    script = (
        "from prefect.settings import get_current_settings; s = get_current_settings();"
        "print(s.api.url, s.server.analytics_enabled, s.server.ui.v2_enabled)"
    )
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "DO_NOT_TRACK"))}
    result = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env=clean | {"HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.split() == ["http://127.0.0.1:4200/api", "False", "False"]
