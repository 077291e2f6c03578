"""A command of ours in the shell of a corporate network: the source goes through the proxy, this machine never does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from tests.conftest import BASE_DAY, PAGE_SIZE, ROOT, MockApi
from tests.corporate_proxy import SOURCE, corporate_proxy

DEAD = "127.0.0.1:9"


def ingest(database: str, folder: Path, source: str, **shell: str) -> subprocess.CompletedProcess[str]:
    """Tracks of one day, without a Prefect server that runs: one is started for it."""
    names = ("PREFECT_API_URL", "PREFECT_HOME")
    clean = {
        name: value for name, value in os.environ.items() if name not in names and not name.lower().endswith("_proxy")
    }
    ours = {"DATABASE_URL": database, "DATA_DIR": str(folder), "PAGE_SIZE": str(PAGE_SIZE), "FETCH_TRIES": "2"}
    return subprocess.run(
        [sys.executable, "-m", "flows.ingest", "--day", BASE_DAY, "--endpoint", "tracks"],
        cwd=ROOT,
        env=clean | ours | {"MOOVITAMIX_API_URL": source} | shell,
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )


def sources(database: str) -> list[tuple[str, str]]:
    """Source and status of each batch."""
    with psycopg.connect(database) as connection:
        return [tuple(row) for row in connection.execute("select source, status from ops.batches").fetchall()]


def test_only_the_source_goes_through_the_proxy(api: MockApi, database: str, tmp_path: Path) -> None:
    with corporate_proxy(api.url) as proxy:
        shell = {"HTTP_PROXY": proxy.url, "https_proxy": proxy.url, "NO_PROXY": "[::1]:80,.corp.example"}
        done = ingest(database, tmp_path, f"http://{SOURCE}", **shell)
    assert done.returncode == 0, done.stdout + done.stderr
    assert set(proxy.hosts) == {SOURCE}
    assert sources(database) == [(f"http://{SOURCE}", "published")]


@pytest.mark.parametrize(
    "shell",
    [
        {"HTTP_PROXY": f"http://{DEAD}", "https_proxy": DEAD, "ALL_PROXY": f"socks5://{DEAD}", "all_proxy": "nonsense"},
    ],
    ids=["dead, SOCKS without its package, and nonsense"],
)
def test_proxies_that_work_for_nobody_do_not_matter_on_one_machine(
    shell: dict[str, str], api: MockApi, database: str, tmp_path: Path
) -> None:
    done = ingest(database, tmp_path, api.url, **shell)
    assert done.returncode == 0, done.stdout + done.stderr
    assert sources(database) == [(api.url, "published")]


def test_a_proxy_without_its_package_is_told_in_one_line(database: str, tmp_path: Path) -> None:
    done = ingest(database, tmp_path, f"http://{SOURCE}", ALL_PROXY="socks5h://somebody:secret@proxy.example:1080")
    told = done.stdout + done.stderr
    assert (done.returncode, told.count("\n")) == (2, 1), told
    assert "socks5h://proxy.example:1080 (ALL_PROXY) is a SOCKS proxy, and the package PySocks is missing" in told
    assert "secret" not in told
    assert "Traceback" not in told


def test_a_file_of_certificates_that_is_missing_is_told_in_one_line(
    api: MockApi, database: str, tmp_path: Path
) -> None:
    done = ingest(database, tmp_path, api.url, SSL_CERT_FILE=str(tmp_path / "missing.pem"))
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "SSL_CERT_FILE" in done.stderr


def test_prefects_own_command_sends_nothing_home_from_this_folder(tmp_path: Path) -> None:
    clean = {
        name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "DO_NOT_TRACK", "CI"))
    }
    with corporate_proxy("http://127.0.0.1:9") as proxy:  # whatever leaves this machine would go through it
        shell = {"HOME": str(tmp_path), "HTTPS_PROXY": proxy.url, "HTTP_PROXY": proxy.url, "NO_PROXY": "127.0.0.1"}
        command = [sys.executable, "-m", "prefect", "deployment", "ls"]
        nowhere = subprocess.DEVNULL  # it shows a traceback of Prefect's: no server runs here
        subprocess.run(command, cwd=ROOT, env=clean | shell, stdout=nowhere, stderr=nowhere, check=False, timeout=120)
    assert proxy.hosts == []


def test_prefects_own_command_reads_our_settings_in_this_folder(tmp_path: Path) -> None:
    ask = (
        "from prefect.settings import get_current_settings; s = get_current_settings();"
        "print(s.api.url, s.server.analytics_enabled, s.server.ui.v2_enabled)"
    )
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "DO_NOT_TRACK"))}
    found = subprocess.run(
        [sys.executable, "-c", ask],
        cwd=ROOT,
        env=clean | {"HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.split() == ["http://127.0.0.1:4200/api", "False", "False"]
