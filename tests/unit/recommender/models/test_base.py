"""The base class: blocks, exclusions, and invalid scores."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from core.errors import ModelError
from recommender.data.interactions import Interactions
from recommender.models import base
from recommender.models.als import ALS
from recommender.models.base import Recommender, Scores
from recommender.models.blend import BlendMember, blend_class
from recommender.models.ease import EASE
from recommender.models.popularity import Popularity
from tests.two_groups import TRACK_IDS, USER_IDS, two_groups


class Constant(Recommender):
    """Gives every pair the score `score`, and the first track of each user the score `odd`."""

    name = "constant"

    def __init__(self, score: float = 1.0, odd: float | None = None) -> None:
        super().__init__(score=score, odd=odd)

    def _fit(self, interactions: Interactions) -> None:
        pass

    def _score(self, users: Interactions) -> Scores:
        scores = np.full((len(users.user_ids), len(users.track_ids)), self.params["score"], np.float32)
        if self.params["odd"] is not None:
            scores[:, 0] = self.params["odd"]
        return scores

    def _state(self) -> dict[str, NDArray[Any]]:
        return {"nothing": np.zeros(1)}

    def _restore(self, state: dict[str, NDArray[Any]]) -> None:
        pass


@pytest.mark.parametrize("invalid", [np.nan, np.inf])
@pytest.mark.parametrize("score", [0.0, np.nan])
def test_non_finite_scores_are_refused(invalid: float, score: float) -> None:
    with pytest.raises(ModelError, match="constant gave scores that are not finite numbers"):
        Constant(score=score, odd=invalid).fit(two_groups()).recommend(USER_IDS, 3)


def test_score_of_minus_infinity_excludes_a_track() -> None:
    ranking = Constant(odd=-np.inf).fit(two_groups()).recommend(USER_IDS, 12)
    assert (ranking.ids[:, :11] == TRACK_IDS[1:]).all()
    assert (ranking.ids[:, 11] == -1).all()


def test_ties_are_in_the_order_of_ids() -> None:
    assert (Constant().fit(two_groups()).recommend(USER_IDS, 5).ids == TRACK_IDS[:5]).all()


def test_ranking_does_not_depend_on_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    plays = two_groups()
    model = ALS(factors=2).fit(plays)
    whole = model.recommend(USER_IDS, 8, exclude=plays)
    monkeypatch.setattr(base, "rows_per_block", lambda columns: 3)
    in_threes = model.recommend(USER_IDS, 8, exclude=plays)
    assert (in_threes.ids == whole.ids).all()
    assert in_threes.scores == pytest.approx(whole.scores, abs=1e-6)


def test_exclude_may_contain_other_tracks_and_users() -> None:
    plays = two_groups()
    elsewhere = Interactions.from_pairs([USER_IDS[0], 1], [TRACK_IDS[0], 424242])
    ids = Constant().fit(plays).recommend(USER_IDS[:2], 12, exclude=elsewhere).ids
    assert TRACK_IDS[0] not in ids[0]
    assert set(ids[1]) == set(TRACK_IDS)


def test_blend_adds_z_scores() -> None:
    plays = two_groups()
    members = {"als": BlendMember(ALS, 2.0), "ease": BlendMember(EASE)}
    model = blend_class("Mixed", "mixed", module=__name__, members=members)(als={"factors": 2}).fit(plays)
    parts = [member._score(plays) for member in model._members]
    first, score = [(part - part.mean(axis=1, keepdims=True)) / part.std(axis=1, keepdims=True) for part in parts]
    assert model._score(plays) == pytest.approx(2 * first + score, abs=1e-4)


def test_member_with_constant_scores_does_not_count() -> None:
    plays = Interactions.from_pairs(USER_IDS, TRACK_IDS[:10])  # every track has one user
    members = {"popularity": BlendMember(Popularity, 5.0), "als": BlendMember(ALS)}
    model = blend_class("Mixed", "mixed", module=__name__, members=members)(als={"factors": 2}).fit(plays)
    assert np.isfinite(model.recommend(USER_IDS, 3).scores).all()
