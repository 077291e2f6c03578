"""`make setup` with Pythons that only note what they were asked."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
_NOTES = """#!/bin/sh
echo "$0 $*" >> calls
case "$*" in
    *"-m venv"*) mkdir -p .venv/bin; cp "$0" .venv/bin/python ;;
    *print*version_info*) echo {version} ;;
esac
"""


class Checkout:
    """A folder with what set-up needs, and Pythons of other folders."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "checkout"
        shutil.copytree(ROOT / ".ci", self.folder / ".ci")
        shutil.copy(ROOT / "Makefile", self.folder)
        (self.folder / "requirements.lock").touch()

    def python(self, name: str, version: str) -> Path:
        """One that says it is of this version."""
        path = self.folder.parent / "some where" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(_NOTES.format(version=version))
        path.chmod(0o755)
        return path

    def setup(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """`make setup`."""
        variables = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "PYTHON"))}
        return subprocess.run(
            ["make", "setup", *arguments],
            cwd=self.folder,
            env=variables | environment,
            capture_output=True,
            text=True,
            check=False,
        )

    def installed_by(self) -> set[str]:
        """Who was asked to install something."""
        calls = (self.folder / "calls").read_text().splitlines()
        return {call.split(" -m ")[0] for call in calls if " -m pip install" in call}

    def made_by(self) -> list[str]:
        """Who made a virtual environment."""
        calls = (self.folder / "calls").read_text().splitlines()
        return [call.split(" -m ")[0] for call in calls if " -m venv" in call]


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


@pytest.mark.parametrize("named", ["on the command line", "in the environment"])
def test_the_named_python_makes_the_environment_and_gets_nothing_installed(checkout: Checkout, named: str) -> None:
    theirs = checkout.python("python3.12", "3 12")
    done = checkout.setup(f"PYTHON={theirs}") if named == "on the command line" else checkout.setup(PYTHON=str(theirs))
    assert done.returncode == 0, done.stderr
    assert checkout.made_by() == [str(theirs)]
    assert checkout.installed_by() == {".venv/bin/python"}


def test_another_python_begins_anew_and_the_same_one_keeps_what_is_there(checkout: Checkout) -> None:
    old, new = checkout.python("python3.11", "3 11"), checkout.python("python3.12", "3 12")
    for python in (old, old, new):
        assert checkout.setup(f"PYTHON={python}").returncode == 0
    assert checkout.setup(f"PYTHON={checkout.folder}/.venv/bin/python").returncode == 0
    assert checkout.setup().returncode == 0
    assert checkout.made_by() == [str(old), str(new)]
    assert checkout.installed_by() == {".venv/bin/python"}


def test_a_named_python_that_will_not_do_is_not_replaced_by_another(checkout: Checkout) -> None:
    done = checkout.setup("PYTHON=python2.7")
    assert done.returncode != 0
    assert "PYTHON names 'python2.7', which is no Python 3.11 to 3.14 with venv" in done.stderr
    assert not (checkout.folder / ".venv").exists()
