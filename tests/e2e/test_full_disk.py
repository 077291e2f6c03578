"""`maintain` works on a full disk: it deletes files without the database, which can then start again."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.conftest import ROOT

_MB = 2**20


@pytest.fixture
def full_data_dir(tmp_path: Path) -> Iterator[Path]:
    """A DATA_DIR without free space, with old raw pages and a stopped embedded database."""
    folder = tmp_path / "data"
    folder.mkdir()
    tmp_path.chmod(0o755)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256m", "tmpfs", folder], capture_output=True).returncode:
        pytest.skip("mounting a file system is not permitted")
    try:
        assert _run(folder, "core.embedded_postgres", "--url").returncode == 0
        old = folder / "landing" / "users" / "users-2020-01-01"
        old.mkdir(parents=True)
        (old / "page").write_bytes(bytes(64 * _MB))
        os.utime(old, (0, 0))
        with suppress(OSError), (folder / "filler").open("wb", buffering=0) as filler:
            while True:
                filler.write(bytes(_MB))
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def _run(data_dir: Path, *command: str) -> subprocess.CompletedProcess[str]:
    settings = {"DATA_DIR": str(data_dir), "DATABASE_URL": "", "PREFECT_HOME": str(data_dir / "prefect")}
    environment = {name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"} | settings
    return subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600
    )


def test_maintain_frees_space_before_it_needs_the_database(full_data_dir: Path) -> None:
    without_old_files = _run(full_data_dir, "flows.maintain", "--retention-days", "36500")
    assert without_old_files.returncode == 1
    assert without_old_files.stderr.startswith("error: ")
    assert "No space left on device" in without_old_files.stderr
    assert "see docs/operations.md#the-disk-is-full" in without_old_files.stderr

    result = _run(full_data_dir, "flows.maintain", "--retention-days", "3")

    assert result.returncode == 0, result.stderr
    assert "the disk is full; without the database: 1 landings" in result.stdout
    assert shutil.disk_usage(full_data_dir).free > 0
