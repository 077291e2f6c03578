"""Named blends: their classes, parameters and files."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.errors import ModelFileError
from recommender.data.interactions import Interactions
from recommender.models import file_format
from recommender.models.blend import Blend
from recommender.models.registry import CANDIDATES, load_model

PLAYS = Interactions.from_pairs([1, 1, 2, 2, 3, 3], [1, 2, 2, 3, 1, 3])
# The parameters as model files and ml.model_runs hold them.
STORED: dict[str, dict[str, Any]] = {
    "ease_als": {"als_weight": 0.3, "ease": {"ridge": 3.0}, "als": {"factors": 2}},
    "chebyshev_als": {"als_weight": 0.3, "chebyshev": {"rank": 2}, "als": {"factors": 2}},
}


@pytest.mark.parametrize("name", STORED)
def test_stored_parameters_and_files_stay_readable(name: str, tmp_path: Path) -> None:
    model = CANDIDATES[name].model_class(**STORED[name]).fit(PLAYS)
    path = tmp_path / "model.npz"
    model.save(path)

    content = file_format.read(path)
    assert (content.model, content.params) == (name, STORED[name])

    loaded = load_model(path).fold_in(PLAYS)
    expected, ranking = model.recommend([1, 2, 3], 3), loaded.recommend([1, 2, 3], 3)
    assert np.array_equal(ranking.ids, expected.ids)
    assert np.array_equal(ranking.scores, expected.scores)


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("ease_als", {"als_weight": 0.5, "ease": {}, "als": {}}),
        ("chebyshev_als", {"als_weight": 0.8, "chebyshev": {}, "als": {}}),
        ("ease_content", {"content_weight": 2.0, "ease": {}, "content": {}}),
        ("chebyshev_content", {"content_weight": 2.0, "chebyshev": {}, "content": {}}),
    ],
)
def test_default_parameters(name: str, params: dict[str, Any]) -> None:
    assert CANDIDATES[name].model_class().params == params


def test_file_with_an_unknown_parameter_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.npz"
    file_format.write(path, "ease_als", 1, {"als_weight": 0.3, "shrink": 1.0}, {"track_ids": np.array([1])})
    with pytest.raises(ModelFileError, match="does not contain a valid ease_als model"):
        load_model(path)


def test_trial_processes_can_import_every_registered_class() -> None:
    for candidate in CANDIDATES.values():
        model_class = candidate.model_class
        assert getattr(import_module(model_class.__module__), model_class.__qualname__) is model_class


def test_members_of_a_blend_are_candidates() -> None:
    for candidate in CANDIDATES.values():
        if issubclass(candidate.model_class, Blend):
            assert candidate.members.keys() == candidate.model_class.members.keys()
            assert set(candidate.members.values()) <= CANDIDATES.keys()
