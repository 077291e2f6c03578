"""The model that docs/models.md makes up keeps the contract, and its line fits the registry."""

from __future__ import annotations

import re
from pathlib import Path

from recommender.models.base import Recommender
from recommender.trials import Candidate
from tests.contracts import RecommenderContract

PAGE = Path(__file__).parents[4] / "docs" / "models.md"
FILE, LINE, TEST = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)


def example() -> type[Recommender]:
    names: dict[str, type[Recommender]] = {"__name__": "cosine"}  # type: ignore[dict-item]
    exec(compile(FILE, PAGE.name, "exec"), names)
    return names["Cosine"]


class TestTheWorkedExample(RecommenderContract):
    def make(self) -> Recommender:
        return example()()


def test_the_line_of_the_registry_names_it() -> None:
    cosine = example()
    candidates = eval(f"{{{LINE}}}", {"Cosine": cosine, "Candidate": Candidate})
    assert candidates["cosine"].make is cosine
    for settings in [{}, *(step for direction in candidates["cosine"].directions for step in direction)]:
        cosine(**candidates["cosine"].settings | settings)


def test_the_test_is_the_one_above() -> None:
    names = {"RecommenderContract": RecommenderContract, "Recommender": Recommender, "Cosine": example()}
    exec(TEST, names)
    assert names["TestCosine"]().make().name == "cosine"  # type: ignore[operator]
