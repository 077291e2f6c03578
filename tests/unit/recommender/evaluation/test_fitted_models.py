"""Trials of one search share fitted members of blends; their lists and costs are those of a blend fitted whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.errors import ModelError
from recommender.data.interactions import ARTIST, GENRE, Interactions
from recommender.evaluation import fitted_models
from recommender.evaluation.fitted_models import FittedModels
from recommender.models.als import ALS
from recommender.models.base import Recommender
from recommender.models.registry import CANDIDATES

_RANDOM = np.random.default_rng(3)
PLAYS = Interactions.from_pairs(
    _RANDOM.integers(0, 40, 400),
    _RANDOM.integers(0, 30, 400),
    catalogue=np.arange(30),
    item_attributes={ARTIST: np.arange(30) % 10, GENRE: np.arange(30) % 3},
)
BLENDS = [name for name, candidate in CANDIDATES.items() if candidate.members]
NO_LIMIT = 1e9


def fit(folder: Path, name: str, params: dict[str, Any], memory_mb: float = NO_LIMIT) -> Recommender:
    model = CANDIDATES[name].model_class(**params)
    return FittedModels(folder).fit(model, PLAYS, memory_mb, is_member=True)[0].fold_in(PLAYS)


def never(model: Recommender, interactions: Interactions) -> None:
    raise AssertionError(f"{model.name} was fitted again")


@pytest.mark.parametrize("name", BLENDS)
def test_blend_of_members_that_were_read_gives_the_same_lists(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    members = {parameter: {} for parameter in CANDIDATES[name].members}
    for member in CANDIDATES[name].members.values():
        fit(tmp_path, member, {})
    for member in CANDIDATES[name].members.values():
        monkeypatch.setattr(CANDIDATES[member].model_class, "_fit", never)
    ranking = fit(tmp_path, name, members).recommend(PLAYS.user_ids, 5)
    monkeypatch.undo()
    expected = CANDIDATES[name].model_class(**members).fit(PLAYS).recommend(PLAYS.user_ids, 5)
    assert np.array_equal(ranking.ids, expected.ids)
    assert np.array_equal(ranking.scores, expected.scores)


def test_member_with_other_settings_is_fitted(tmp_path: Path) -> None:
    fit(tmp_path, "als", {"factors": 2})
    model = fit(tmp_path, "ease_als", {"als": {"factors": 3}})
    assert model.params["als"] == {"factors": 3}
    assert len(list(tmp_path.glob("*.npz"))) == 3


def test_damaged_file_is_fitted_again(tmp_path: Path) -> None:
    expected = fit(tmp_path, "als", {}).recommend(PLAYS.user_ids, 5)
    (file,) = tmp_path.glob("*.npz")
    file.write_bytes(b"damaged")
    assert np.array_equal(fit(tmp_path, "als", {}).recommend(PLAYS.user_ids, 5).ids, expected.ids)


def test_blend_that_needs_more_memory_than_its_limit_fails_also_if_its_members_were_read(tmp_path: Path) -> None:
    params: dict[str, Any] = {"chebyshev": {"rank": 2}, "als": {"factors": 2}}
    fit(tmp_path, "chebyshev_als", params)
    with pytest.raises(ModelError, match=r"needs [0-9,]+ MB to fit its members, more than its limit of 1 MB"):
        fit(tmp_path, "chebyshev_als", params, memory_mb=1)


def test_the_oldest_files_are_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    size = sum(array.nbytes for array in ALS(factors=2).fit(PLAYS).learned().arrays.values())
    monkeypatch.setattr(fitted_models, "_CAPACITY_BYTES", 4 * size)
    for seed in range(20):
        fit(tmp_path, "als", {"factors": 2, "seed": seed})
    files = list(tmp_path.glob("*.npz"))
    assert 1 <= len(files) < 5
    monkeypatch.setattr(ALS, "_fit", never)
    fit(tmp_path, "als", {"factors": 2, "seed": 19})


def test_model_that_is_no_member_is_not_kept(tmp_path: Path) -> None:
    FittedModels(tmp_path).fit(ALS(factors=2), PLAYS, NO_LIMIT, is_member=False)
    assert not list(tmp_path.iterdir())
