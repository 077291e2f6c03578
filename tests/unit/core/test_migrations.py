"""The migrations form one chain."""

from __future__ import annotations

import re

from tests.conftest import ROOT

VERSIONS = ROOT / "sql/migrations/versions"


def test_each_migration_follows_the_one_before_and_runs_its_own_file() -> None:
    """Two people may add the same number on the same day."""
    files = sorted(VERSIONS.glob("[0-9]*.py"))
    numbers = [file.name[:4] for file in files]
    assert numbers == [f"{number:04}" for number in range(1, len(files) + 1)]
    for number, file in zip(numbers, files, strict=True):
        text = file.read_text()
        assert re.findall(r'^revision = "(\d+)"', text, re.M) == [number]
        assert re.findall(r'^down_revision = (?:"(\d+)"|None)', text, re.M) in ([f"{int(number) - 1:04}"], [""])
    names = {file.stem for file in files}
    assert {file.stem for file in (ROOT / "sql/migrations").glob("[0-9]*.sql")} == names
