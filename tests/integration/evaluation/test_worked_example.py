"""The example of docs/models.md for a new model works, step by step, in a copy of the code."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

PAGE = (ROOT / "docs" / "models.md").read_text()
MODEL, IMPORT, CANDIDATE, TEST = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
(COMMANDS,) = re.findall(r"```\n(\.venv/bin/python .*?)```", PAGE, re.DOTALL)
PLACES = dict(zip(re.findall(r"`([\w/]+cosine\.py)`:", PAGE), (MODEL, TEST), strict=True))


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of the code that a model and its test need, and a few plays."""
    for folder in ("core", "compute", "recommender"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "tests/unit/recommender/models").mkdir(parents=True)
    for file in ("tests/__init__.py", "tests/recommender_contract.py", "tests/two_groups.py", "pyproject.toml"):
        shutil.copy(ROOT / file, tmp_path / file)
    plays = ["user_id,track_id", *(f"{user},{track}" for user in range(20) for track in range(user % 5, 10))]
    (tmp_path / "train.csv").write_text("\n".join(plays))
    (tmp_path / "test.csv").write_text("\n".join(["user_id,track_id", *(f"{user},{0}" for user in range(20))]))
    return tmp_path


def test_every_step_of_the_documented_example_works(checkout: Path) -> None:
    for path, text in PLACES.items():
        (checkout / path).write_text(text)
    registry = checkout / "recommender/models/registry.py"
    first, imports, tail = registry.read_text().partition("from recommender.models.als import ALS\n")
    before, candidates, after = tail.partition("CANDIDATES: Candidates = {\n")
    assert imports and candidates
    registry.write_text(first + imports + IMPORT + before + candidates + CANDIDATE + after)

    for line in COMMANDS.splitlines():
        command = line.replace(".venv/bin/python", sys.executable).split()
        process = subprocess.run(command, cwd=checkout, capture_output=True, text=True, timeout=600, check=False)
        assert process.returncode == 0, process.stdout + process.stderr

    assert "cosine" in process.stdout
