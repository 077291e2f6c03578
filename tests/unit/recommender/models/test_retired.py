"""Files of retired models, written by the program that still trained them, give the recommendations of that time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.errors import ModelError, ModelFileError
from recommender.models import file_format
from recommender.models.registry import CANDIDATES, load_model
from recommender.models.retired import RETIRED
from tests.two_groups import USER_IDS, two_groups

FILES = Path(__file__).parents[3] / "data" / "models"
EXPECTED: dict[str, Any] = json.loads((FILES / "expected.json").read_text())


@pytest.mark.parametrize("name", EXPECTED)
def test_stored_file_gives_the_recommendations_of_its_time(name: str) -> None:
    plays = two_groups()
    ranking = load_model(FILES / f"{name}.npz").fold_in(plays).recommend(USER_IDS, 3, exclude=plays)
    # Tracks of equal score may change places with the rounding of another processor.
    assert ranking.scores == pytest.approx(np.array(EXPECTED[name]["scores"]), abs=1e-3)
    assert (ranking.ids[:, :2] == np.array(EXPECTED[name]["ids"])[:, :2]).mean() > 0.9


def test_each_retired_model_has_a_stored_file() -> None:
    assert {(content.model, content.version) for content in map(file_format.read, FILES.glob("*.npz"))} == set(RETIRED)


@pytest.mark.parametrize("model", RETIRED.values())
def test_retired_model_is_not_trained(model: Any) -> None:
    with pytest.raises(ModelError, match="no longer trained"):
        model().fit(two_groups())


def test_file_of_another_version_is_refused(tmp_path: Path) -> None:
    file_format.write(tmp_path / "model.npz", "ease", 99, {}, {"track_ids": np.array([1])})
    with pytest.raises(ModelFileError, match="file of version 99 of ease, and this program reads version 1; retrain"):
        load_model(tmp_path / "model.npz", CANDIDATES)
