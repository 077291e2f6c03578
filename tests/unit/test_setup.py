"""`make setup` with stubs of Python that record their calls."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
_STUB = """#!/bin/sh
echo "$0 $*" >> calls
case "$*" in
    *"-m venv"*) mkdir -p .venv/bin; cp "$0" .venv/bin/python ;;
    *print*version_info*) echo {version} ;;
esac
"""


class Checkout:
    """A folder with the files that `make setup` needs, and stubs of Python in another folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "checkout"
        shutil.copytree(ROOT / ".ci", self.folder / ".ci")
        shutil.copy(ROOT / "Makefile", self.folder)
        (self.folder / "requirements.lock").touch()

    def python(self, name: str, version: str) -> Path:
        """Create a stub that reports this version."""
        path = self.folder.parent / "some where" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(_STUB.format(version=version))
        path.chmod(0o755)
        return path

    def setup(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run `make setup`."""
        variables = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "PYTHON"))}
        return subprocess.run(
            ["make", "setup", *arguments],
            cwd=self.folder,
            env=variables | environment,
            capture_output=True,
            text=True,
            check=False,
        )

    def pythons_that_installed(self) -> set[str]:
        """The stubs that were called with `pip install`."""
        calls = (self.folder / "calls").read_text().splitlines()
        return {call.split(" -m ")[0] for call in calls if " -m pip install" in call}

    def pythons_that_made_venv(self) -> list[str]:
        """The stubs that created a virtual environment."""
        calls = (self.folder / "calls").read_text().splitlines()
        return [call.split(" -m ")[0] for call in calls if " -m venv" in call]


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


@pytest.mark.parametrize("source", ["on the command line", "in the environment"])
def test_setup_creates_the_environment_with_the_requested_python(checkout: Checkout, source: str) -> None:
    requested = checkout.python("python3.12", "3 12")
    result = (
        checkout.setup(f"PYTHON={requested}")
        if source == "on the command line"
        else checkout.setup(PYTHON=str(requested))
    )
    assert result.returncode == 0, result.stderr
    assert checkout.pythons_that_made_venv() == [str(requested)]
    assert checkout.pythons_that_installed() == {".venv/bin/python"}


def test_setup_recreates_the_environment_only_for_another_python(checkout: Checkout) -> None:
    old, new = checkout.python("python3.11", "3 11"), checkout.python("python3.12", "3 12")
    for python in (old, old, new):
        assert checkout.setup(f"PYTHON={python}").returncode == 0
    assert checkout.setup(f"PYTHON={checkout.folder}/.venv/bin/python").returncode == 0
    assert checkout.setup().returncode == 0
    assert checkout.pythons_that_made_venv() == [str(old), str(new)]
    assert checkout.pythons_that_installed() == {".venv/bin/python"}


def test_unusable_requested_python_is_an_error(checkout: Checkout) -> None:
    result = checkout.setup("PYTHON=python2.7")
    assert result.returncode != 0
    assert "PYTHON names 'python2.7', which is not Python 3.11 to 3.14 with venv" in result.stderr
    assert not (checkout.folder / ".venv").exists()
