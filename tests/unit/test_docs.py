"""Names, paths, links and make targets in the documentation exist."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT

TRACKED = frozenset(
    subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
)
FOLDERS = frozenset(str(parent) for path in TRACKED for parent in Path(path).parents)
PAGES = sorted(path for path in TRACKED if re.fullmatch(r"README\.md|docs/([^/]+/)?[^/]+\.md", path))
TOP = frozenset(path.split("/")[0] for path in TRACKED)
# Files of the worked example in docs/models.md; the reader writes them.
EXAMPLES = frozenset({"recommender/models/cosine.py", "tests/unit/recommender/models/test_cosine.py"})


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub creates for the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", ["CHANGELOG.md", *PAGES])
def test_relative_links_resolve(name: str) -> None:
    page = ROOT / name
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if re.match(r"https?:|mailto:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


@pytest.mark.parametrize("name", PAGES)
def test_paths_exist(name: str) -> None:
    quoted = re.findall(r"`([\w.-]+(?:/[\w.-]+)+/?)`", (ROOT / name).read_text())
    paths = {path.rstrip("/") for path in quoted if path.split("/")[0] in TOP}
    assert {path for path in paths if path not in TRACKED | FOLDERS | EXAMPLES} == set()


@pytest.mark.parametrize("name", PAGES)
def test_modules_in_commands_exist(name: str) -> None:
    modules = set(re.findall(r"(?:python|python3) -m ([a-z_]+(?:\.[a-z_]+)*)", (ROOT / name).read_text()))
    paths = {module.replace(".", "/") for module in modules if module.split(".")[0] in TOP}
    missing = {path for path in paths if not {f"{path}.py", f"{path}/__main__.py"} & TRACKED}
    assert missing == set()


@pytest.mark.parametrize("name", PAGES)
def test_make_targets_exist(name: str) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    text = (ROOT / name).read_text()
    code = re.findall(r"^```\w*\n(.*?)^```", text, re.DOTALL | re.MULTILINE) + re.findall(r"`(make [^`]*)`", text)
    documented = [target for part in code for target in re.findall(r"^make (?:-s )?([a-z-]+)", part, re.MULTILINE)]
    assert set(documented) - targets == set()


def test_pages_are_short() -> None:
    """A page over 250 lines answers more than one question; a generated part does not count."""
    lengths = {name: hand_written_lines(ROOT / name) for name in PAGES}
    assert {name: lines for name, lines in lengths.items() if lines > 250} == {}


def hand_written_lines(page: Path) -> int:
    text = re.sub(r"<!-- (\w+): begin -->.*?<!-- \1: end -->", "", page.read_text(), flags=re.DOTALL)
    return len(text.splitlines())


def test_each_decision_has_a_number_of_its_own() -> None:
    numbers = [Path(path).name[:4] for path in TRACKED if path.startswith("docs/adr/")]
    assert sorted(numbers) == [f"{number:04}" for number in range(1, len(numbers) + 1)]
