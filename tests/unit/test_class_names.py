"""A public class has one name in the whole repository, so that a name in a message or a page means one thing."""

from __future__ import annotations

import ast
import subprocess
from collections import defaultdict

from tests.conftest import ROOT


def test_no_two_public_classes_share_a_name() -> None:
    listed = subprocess.run(["git", "ls-files", "*.py"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    files = defaultdict(list)
    for file in listed.split():
        for node in ast.walk(ast.parse((ROOT / file).read_text())):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                files[node.name].append(file)
    assert len(files) > 100
    assert {name: paths for name, paths in files.items() if len(paths) > 1} == {}
