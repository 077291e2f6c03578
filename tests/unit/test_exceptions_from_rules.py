"""Every exception from a security rule has a reason; all packages are checked."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]


def test_exceptions_from_security_rules_have_a_reason() -> None:
    lint = PROJECT["ruff"]["lint"]
    assert "S" in lint["select"]
    assert [folder for folder, rules in lint["per-file-ignores"].items() if "S" in rules] == ["tests/**"]
    files = [file for package in PROJECT["vulture"]["paths"] for file in (ROOT / package).rglob("*.py")]
    exceptions = [line for file in files for line in file.read_text().splitlines() if re.search(r"noqa: \w*S\d", line)]
    assert exceptions
    assert [line for line in exceptions if not re.search(r"noqa: S\d+\W+\w+ \w+", line)] == []


def test_every_package_is_checked_for_dead_code_and_coverage() -> None:
    packages = {file.parent.name for file in ROOT.glob("*/__init__.py")} - {"tests"}
    assert set(PROJECT["vulture"]["paths"]) == packages
    assert set(PROJECT["coverage"]["run"]["source"]) == packages - {"benchmarks", "demo"}
