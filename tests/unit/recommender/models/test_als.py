"""ALS: user vectors solve the least-squares equation, and scores agree with `implicit`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from threadpoolctl import threadpool_limits

from core.errors import ModelError
from recommender.models import als
from recommender.models.als import ALS
from recommender.models.registry import CANDIDATES
from tests.two_groups import USER_IDS, dense, two_groups
from tests.unit.recommender.models.test_ease import listening


def test_user_vector_solves_the_least_squares_equation() -> None:
    plays = listening(30, 50)
    model = ALS(factors=6, regularization=0.3, alpha=2.0).fit(plays)
    tracks = model._state()["tracks"].astype(np.float64)
    confidence = 2 * np.log1p(dense(plays))
    # One user and one track have no plays.
    strength = 0.3 * np.sqrt(confidence.sum() / 29 * confidence.sum() / 49)
    expected = np.zeros((30, 50))
    for user in range(30):
        c = confidence[user]
        # A track without plays has confidence 1 and preference 0; a played track has confidence c and preference 1 (Hu
        # 2008).
        matrix = tracks.T @ tracks + (tracks.T * np.where(c > 0, c - 1, 0)) @ tracks + strength * np.eye(6)
        expected[user] = tracks @ np.linalg.solve(matrix, tracks.T @ c)
    assert model._score(plays) == pytest.approx(expected, abs=1e-4)


def test_users_are_folded_in_with_the_stored_product_of_the_track_vectors(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    used, recomputes = [], False

    class Solver(als.AlternatingLeastSquares):  # type: ignore[misc]
        def recalculate_user(self, *arguments: Any) -> Any:
            used.append(self._YtY)
            if recomputes:
                self._YtY = None
            return super().recalculate_user(*arguments)

    monkeypatch.setattr(als, "AlternatingLeastSquares", Solver)
    plays = listening(30, 50)
    fitted = ALS(factors=6).fit(plays)
    fitted.save(tmp_path / "als.npz")
    loaded = ALS.load(tmp_path / "als.npz").fold_in(plays)
    repeated = loaded.with_histories(plays)
    assert len(used) == 3
    assert used[0] is fitted._squared_tracks
    assert used[1] is used[2] is loaded._squared_tracks
    assert fitted._squared_tracks == pytest.approx(fitted._tracks.T.dot(fitted._tracks), rel=1e-5)
    recomputes = True
    recomputed = loaded.with_histories(plays)
    for model in (fitted, loaded, repeated):
        assert (model.recommend(plays.user_ids, 10).ids == recomputed.recommend(plays.user_ids, 10).ids).all()
        assert (model._users == recomputed._users).all()


def test_implicit_recommends_the_same_from_the_same_vectors() -> None:
    from implicit.cpu.als import AlternatingLeastSquares

    plays = listening(40, 300)
    model = ALS(factors=8).fit(plays)
    with threadpool_limits(1, "blas"):
        implicit_model = AlternatingLeastSquares(factors=8)
    implicit_model.item_factors, implicit_model.user_factors = model._tracks, model._users
    matrix = csr_matrix(plays.plays)
    played = plays.users_with_plays
    ids, scores = implicit_model.recommend(np.arange(40), matrix, N=10, filter_already_liked_items=True)
    ranking = model.recommend(played, 10, exclude=plays)
    assert (ranking.ids == ids[played]).all()
    assert ranking.scores == pytest.approx(scores[played], abs=1e-6)


def test_same_seed_gives_the_same_model() -> None:
    plays = two_groups()
    first, repeated, with_other_seed = (
        ALS(factors=2, seed=seed).fit(plays).recommend(USER_IDS, 8) for seed in (1, 1, 2)
    )
    assert (first.scores == repeated.scores).all()
    assert (first.scores != with_other_seed.scores).any()


def test_unsolvable_fit_raises_model_error() -> None:
    with pytest.raises(ModelError, match="regularization"):
        ALS(factors=2, regularization=float("nan")).fit(two_groups())


WITHOUT_OPENMP = """
from core.errors import ModelError
from recommender.models.registry import CANDIDATES
from tests.two_groups import two_groups

for name, candidate in CANDIDATES.items():
    try:
        candidate.model_class(**candidate.settings).fit(two_groups())
    except ModelError as error:
        print(name, error)
"""


def test_without_openmp_only_models_with_als_fail(tmp_path: Path) -> None:
    """Simulates a machine without libgomp, which the compiled part of `implicit` needs."""
    (tmp_path / "implicit").mkdir()
    (tmp_path / "implicit" / "__init__.py").write_text("raise ImportError('libgomp.so.1: cannot open')")
    root = Path(__file__).parents[4]
    code = f"import sys; sys.path[:0] = [{str(tmp_path)!r}, {str(root)!r}]\n{WITHOUT_OPENMP}"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    lines = [line for line in result.stdout.splitlines() if "implicit" in line]
    assert [line.split()[0] for line in lines] == [name for name in CANDIDATES if "als" in name.split("_")], (
        result.stdout
    )
    assert all("libgomp.so.1: cannot open" in line and line.endswith("install libgomp1") for line in lines)
