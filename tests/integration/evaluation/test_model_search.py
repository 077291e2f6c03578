"""The model search chooses the best model on the holdout; a failed model does not stop the others."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from core.errors import InteractionsError, ModelError, ModelFileError
from recommender.data.interactions import Interactions
from recommender.data.play_log import PlayWeighting
from recommender.evaluation.model_search import ModelSearchSettings, format_params, search_models
from recommender.evaluation.splitting import Holdout, split_by_user
from recommender.evaluation.trials import TrialLimits
from recommender.models import file_format
from recommender.models.als import ALS
from recommender.models.ease import EASE
from recommender.models.popularity import Popularity
from recommender.models.registry import CANDIDATES, Candidate, EASEWithALS, load_model
from tests.unit.recommender import broken_models as broken
from tests.unit.recommender.worlds import tasteful

SPLIT = split_by_user(tasteful())
SEARCH = ModelSearchSettings(k=5)
# The held-out tracks are the last of the catalogue.
UPWARDS = Interactions.from_pairs([1, 1, 2, 2], [1, 2, 1, 2], catalogue=range(10))
LATER = Holdout.from_interactions(Interactions.from_pairs([1, 2], [9, 8]), UPWARDS)


def test_model_that_recommends_held_out_tracks_is_chosen() -> None:
    candidates = {"popularity": Candidate(Popularity), "ease": Candidate(EASE)}
    selection = search_models(*SPLIT, candidates, SEARCH)
    assert selection.chosen.model == "ease"
    assert list(selection.results) == ["ease", "popularity"]
    assert selection.chosen.ndcg > 1.5 * selection.results["popularity"].ndcg
    assert selection.chosen.measures.ndcg.shape == (len(selection.holdout),)
    assert not selection.failed_models


def test_best_setting_of_each_model_is_kept() -> None:
    candidates = {"knows": Candidate(broken.Knows, {"upwards": False}, (({"upwards": True},),))}
    selection = search_models(UPWARDS, LATER, candidates, SEARCH)
    assert selection.chosen.params == {"upwards": True}
    assert [result.ndcg for result in selection.tried] == [0, pytest.approx(selection.chosen.ndcg)]


def test_earlier_candidate_wins_a_tie() -> None:
    knows = Candidate(broken.Knows)
    assert search_models(UPWARDS, LATER, {"a": knows, "b": knows}, SEARCH).chosen.model == "a"
    assert search_models(UPWARDS, LATER, {"b": knows, "a": knows}, SEARCH).chosen.model == "b"


def test_failed_models_do_not_stop_the_others() -> None:
    candidates = {
        "raises": Candidate(broken.Raises),
        "hangs": Candidate(broken.Hangs),
        "gives_nan": Candidate(broken.GivesNaN),
        "popularity": Candidate(Popularity),
    }
    search = ModelSearchSettings(k=5, limits=TrialLimits(seconds=3))
    selection = search_models(*SPLIT, candidates, search)
    assert selection.chosen.model == "popularity"
    assert set(selection.failed_models) == {"raises", "hangs", "gives_nan"}
    assert selection.failed_models["hangs"] == "exceeded its time limit of 3 s"


def test_model_with_a_failing_first_setting_is_not_tried_again() -> None:
    refuses = Candidate(broken.Refuses, {"refuses": True}, (({"refuses": False},),))
    selection = search_models(*SPLIT, {"refuses": refuses, "popularity": Candidate(Popularity)}, SEARCH)
    assert selection.failed_models == {"refuses": "refuses needs more than this"}


def test_model_with_a_failing_second_setting_keeps_the_first() -> None:
    refuses = Candidate(broken.Refuses, {"refuses": False}, (({"refuses": True},),))
    selection = search_models(*SPLIT, {"refuses": refuses}, SEARCH)
    assert selection.chosen.params == {"refuses": False}
    assert selection.failed == ["refuses refuses=True: refuses needs more than this"]
    assert not selection.failed_models


def test_direction_is_followed_while_it_improves_and_the_next_starts_at_the_best() -> None:
    """The model recommends the tracks nearest to `start + more`; 9 and 8 are held out."""
    near = Candidate(
        broken.Near,
        {"start": 5, "more": 0},
        (({"start": 7}, {"start": 8}, {"start": 0}, {"start": 9}), ({"start": 6},), ({"more": 0.6},)),
    )
    selection = search_models(UPWARDS, LATER, {"near": near}, ModelSearchSettings(k=3))
    tried_params = [tuple(result.params.values()) for result in selection.tried]
    assert tried_params == [(5, 0), (7, 0), (8, 0), (0, 0), (8, 0.6)]


def test_blend_uses_the_best_settings_of_its_members() -> None:
    candidates = {
        "ease_als": Candidate(EASEWithALS, {"als_weight": 0.2}, members={"ease": "ease", "als": "als"}),
        "ease": Candidate(EASE, {"ridge": 0.0001}, (({"ridge": 3.0},),)),
        "als": Candidate(ALS, {"factors": 4}),
    }
    selection = search_models(*SPLIT, candidates, SEARCH)
    assert selection.results["ease_als"].params == {"als_weight": 0.2, "ease": {"ridge": 3.0}, "als": {"factors": 4}}


def test_blend_with_a_failed_member_fails() -> None:
    candidates = {
        "ease": Candidate(EASE, {"max_matrix_mb": 0.0}),
        "ease_als": Candidate(EASEWithALS, members={"ease": "ease", "als": "als"}),
        "popularity": Candidate(Popularity),
    }
    selection = search_models(*SPLIT, candidates, SEARCH)
    assert selection.failed_models["ease_als"] == "has the member ease, which failed"


def test_error_names_every_reason_when_all_models_fail() -> None:
    with pytest.raises(ModelError, match=r"every model failed: raises raised KeyError at .*; leaves ended without"):
        search_models(*SPLIT, {"raises": Candidate(broken.Raises), "leaves": Candidate(broken.Leaves)}, SEARCH)
    with pytest.raises(ModelError, match="no candidates were given"):
        search_models(*SPLIT, {}, SEARCH)


def test_settings_beyond_the_budget_are_reported_as_skipped() -> None:
    candidates = {"knows": Candidate(broken.Knows, {"upwards": False}, (({"upwards": True},),))}
    selection = search_models(UPWARDS, LATER, candidates, ModelSearchSettings(k=5, budget_seconds=0.001))
    assert selection.chosen.params == {"upwards": False}
    assert selection.skipped == ["knows upwards=True: no time left"]


def test_weighting_is_kept_only_if_it_wins() -> None:
    good, bad = PlayWeighting(half_life_days=30), PlayWeighting(half_life_days=90)
    # With `good`, all other users play the held-out tracks; with `bad`, nobody does.
    train_with = {
        good: Interactions.from_pairs([3, 3, 4, 4], [9, 8, 9, 8], catalogue=range(10), known_users=[1, 2]),
        bad: Interactions.from_pairs([3, 4], [7, 7], catalogue=range(10), known_users=[1, 2]),
    }
    candidates = {"popularity": Candidate(Popularity)}
    search = ModelSearchSettings(k=2)
    with_good_weighting = search_models(
        UPWARDS, LATER, candidates, search, weightings=[bad, good], interactions_with=train_with.__getitem__
    )
    assert with_good_weighting.chosen.weighting == good
    assert with_good_weighting.chosen.ndcg > 0.5
    with_bad_weighting = search_models(
        UPWARDS, LATER, candidates, search, weightings=[bad], interactions_with=train_with.__getitem__
    )
    assert with_bad_weighting.chosen.weighting == PlayWeighting()
    assert [str(result.weighting) for result in with_bad_weighting.tried] == ["as played", "half-life 90 days"]


def test_member_settings_are_formatted_with_the_member_name() -> None:
    assert format_params({"als_weight": 0.3, "als": {"factors": 64}, "ease": {}}) == "als_weight=0.3 als.factors=64"


def test_search_evaluates_at_most_the_given_number_of_users() -> None:
    selection = search_models(*SPLIT, {"popularity": Candidate(Popularity)}, ModelSearchSettings(k=5, users=10))
    assert len(selection.holdout) == 10
    assert len(selection.chosen.measures.recall) == 10


def test_empty_train_or_holdout_is_refused() -> None:
    nothing = Interactions.from_pairs([], [])
    with pytest.raises(InteractionsError, match="no plays to learn from"):
        search_models(nothing, Holdout.from_interactions(nothing, nothing), CANDIDATES, SEARCH)
    one_play = Interactions.from_pairs([1], [1])
    with pytest.raises(InteractionsError, match="no user has both"):
        search_models(one_play, Holdout.from_interactions(one_play, one_play), CANDIDATES, SEARCH)


def test_registry_keys_are_model_names() -> None:
    assert {name: candidate.model_class.name for name, candidate in CANDIDATES.items()} == {
        name: name for name in CANDIDATES
    }
    assert next(iter(CANDIDATES)) == "popularity"


@pytest.mark.parametrize("name", list(CANDIDATES))
def test_every_setting_in_the_registry_is_accepted_by_its_model(name: str) -> None:
    candidate = CANDIDATES[name]
    for params in ({}, *itertools.chain(*candidate.directions)):
        settings = {**candidate.settings, **params}
        assert settings.items() <= candidate.model_class(**settings).params.items()
    assert set(candidate.members.values()) <= set(CANDIDATES)


def test_file_of_an_unknown_model_is_refused(tmp_path: Path) -> None:
    file_format.write(tmp_path / "model.npz", "oracle", {}, {"track_ids": np.array([1])})
    with pytest.raises(ModelFileError, match="is the file of oracle, a model that is not in the registry"):
        load_model(tmp_path / "model.npz")
