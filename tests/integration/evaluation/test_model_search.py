"""The model search chooses the best model on the holdout; a failed model does not stop the others."""

from __future__ import annotations

import itertools
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from core.errors import InteractionsError, ModelError, ModelFileError
from recommender.data.interactions import ARTIST, Interactions
from recommender.data.play_log import PlayWeighting
from recommender.evaluation import model_search, trials
from recommender.evaluation.model_search import (
    ModelSearchSettings,
    evaluated_users,
    format_params,
    search_models,
    starts_of,
    with_step,
)
from recommender.evaluation.splitting import DataSplit, Holdout, split_by_user
from recommender.evaluation.trials import EvaluatedInputs, MeasuredOutcome, MeasuredTrial, TrialLimits, TrialTask
from recommender.models import file_format
from recommender.models.als import ALS
from recommender.models.base import Params
from recommender.models.ease import EASE
from recommender.models.popularity import Popularity
from recommender.models.registry import CANDIDATES, Candidate, EASEWithALS, load_model
from tests.unit.recommender import broken_models as broken
from tests.unit.recommender.worlds import tasteful

SPLIT = split_by_user(tasteful())
SEARCH = ModelSearchSettings(k=5)
# The held-out tracks are the last of the catalogue.
USERS = range(1, 21)
UPWARDS = Interactions.from_pairs(np.repeat(USERS, 2), [1, 2] * 20, catalogue=range(10))
LATER = Holdout.from_interactions(Interactions.from_pairs(USERS, [9, 8] * 10), UPWARDS)


def test_model_that_recommends_holdout_tracks_is_chosen() -> None:
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


def test_failed_model_does_not_stop_the_search() -> None:
    candidates = {
        "raises": Candidate(broken.Raises),
        "hangs": Candidate(broken.Hangs),
        "gives_nan": Candidate(broken.GivesNaN),
        "popularity": Candidate(Popularity),
    }
    search = ModelSearchSettings(k=5, limits=TrialLimits(seconds=30))
    selection = search_models(*SPLIT, candidates, search)
    assert selection.chosen.model == "popularity"
    assert set(selection.failed_models) == {"raises", "hangs", "gives_nan"}
    assert selection.failed_models["hangs"] == "exceeded its time limit of 30 s"
    assert selection.seconds_limit_reached  # a faster machine might have had a result


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
    """The model recommends the tracks nearest to `start + offset`; 9 and 8 are held out."""
    near = Candidate(
        broken.Near,
        {"start": 5, "offset": 0},
        (({"start": 7}, {"start": 8}, {"start": 0}, {"start": 9}), ({"start": 6},), ({"offset": 0.6},)),
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


def test_blend_starts_from_its_own_and_from_the_best_settings_of_a_member() -> None:
    members = {"ease": "ease", "als": "als"}
    blend = Candidate(EASEWithALS, {"als_weight": 0.2, "als": {"factors": 2}}, members=members)
    candidates = {"ease_als": blend, "ease": Candidate(EASE, {"ridge": 3.0}), "als": Candidate(ALS, {"factors": 4})}
    fixed = {"als_weight": 0.2, "ease": {"ridge": 3.0}}

    def settings_tried(names: list[str], limit: int) -> list[Params]:
        search = ModelSearchSettings(k=5, trials=limit)
        selection = search_models(*SPLIT, {name: candidates[name] for name in names}, search)
        assert len(selection.skipped) == (limit == 1 and "als" in names)
        return [trial.params for trial in selection.tried if trial.model == "ease_als"]

    best, own = fixed | {"als": {"factors": 4}}, fixed | {"als": {"factors": 2}}
    assert settings_tried(["ease_als", "ease", "als"], 40) == [own, best]
    assert settings_tried(["ease_als", "ease", "als"], 1) == [own]
    assert settings_tried(["ease_als", "ease"], 40) == [own]


def test_blend_starts_from_every_combination_of_own_and_best_settings_of_its_members() -> None:
    members = {"ease": "ease", "als": "als"}
    blend = Candidate(EASEWithALS, {"als_weight": 0.2, "ease": {"ridge": 1.0}, "als": {"factors": 2}}, members=members)
    candidates = {
        "ease_als": blend,
        "ease": Candidate(EASE, {"ridge": 3.0}),
        "als": Candidate(ALS, {"factors": 4}),
    }
    tried = search_models(*SPLIT, candidates, SEARCH).tried
    assert [
        (trial.params["ease"]["ridge"], trial.params["als"]["factors"]) for trial in tried if trial.model == "ease_als"
    ] == [(1.0, 2), (1.0, 4), (3.0, 2), (3.0, 4)]


def test_direction_of_several_settings_is_followed_after_one_of_them_improved() -> None:
    near = Candidate(
        broken.Near, {"start": 5, "offset": 0}, (({"start": 8},), ({"start": 9, "offset": 0.6},), ({"start": 7},))
    )
    selection = search_models(UPWARDS, LATER, {"near": near}, ModelSearchSettings(k=3))
    assert [tuple(result.params.values()) for result in selection.tried] == [(5, 0), (8, 0), (9, 0.6)]


def test_blend_within_one_standard_error_of_the_best_model_is_tuned() -> None:
    """The blend is as good as its member, so the member leads; a direction of the blend is followed all the same."""
    blend = Candidate(EASEWithALS, {"als_weight": 0.0}, (({"als_weight": 1.0},),), {"ease": "ease", "als": "als"})
    candidates = {"ease": Candidate(EASE), "als": Candidate(ALS, {"factors": 4}), "ease_als": blend}
    tried = search_models(*SPLIT, candidates, SEARCH).tried
    assert [trial.params["als_weight"] for trial in tried if trial.model == "ease_als"] == [0.0, 1.0]


def test_regularization_of_als_is_searched_both_ways() -> None:
    als = CANDIDATES["als"]
    steps = [step["regularization"] for step in itertools.chain(*als.directions) if step.keys() == {"regularization"}]
    assert min(steps) < als.settings["regularization"] < max(steps)


def test_blends_with_als_start_from_measured_settings() -> None:
    chebyshev, ease = (CANDIDATES[name].settings for name in ("chebyshev_als", "ease_als"))
    assert chebyshev == {
        "als_weight": 0.8,
        "chebyshev": {"rank": 512, "weighting": "binary"},
        "als": {"factors": 256, "alpha": 40.0, "regularization": 0.1},
    }
    assert ease == {
        "als_weight": 0.5,
        "ease": {"ridge": 3.0, "weighting": "log1p"},
        "als": {"factors": 128, "alpha": 10.0, "regularization": 0.2},
    }


@pytest.mark.parametrize("name", ["ease_als", "chebyshev_als"])
def test_tuning_the_members_alone_does_not_hide_the_measured_settings_of_a_blend(name: str) -> None:
    blend = CANDIDATES[name]
    tuned = {
        model: {**CANDIDATES[model].settings, **step}
        for model in blend.members.values()
        for direction in CANDIDATES[model].directions
        for step in direction
    }
    first = next(iter(blend.members))
    starts = starts_of(blend, tuned)
    assert starts[0] == blend.settings, "other settings replace these only beyond one standard error"
    assert {**blend.settings, first: tuned[blend.members[first]]} in starts
    assert blend.settings == starts_of(blend, {})[0]


def test_step_within_one_standard_error_is_not_accepted() -> None:
    # Half of the users gain by the step and half lose; the mean gain is above zero, and below its standard error.
    near = Candidate(broken.Near, {"start": 9, "offset": 0}, (({"start": 8},),))
    uneven = Holdout.from_interactions(Interactions.from_pairs(USERS, [9, 8] * 9 + [8, 8]), UPWARDS)
    selection = search_models(UPWARDS, uneven, {"near": near}, ModelSearchSettings(k=1))
    assert [result.ndcg for result in selection.tried] == [pytest.approx(0.45), pytest.approx(0.55)]
    assert selection.chosen.params["start"] == 9


def test_step_of_a_member_keeps_its_other_settings() -> None:
    params = {"als_weight": 0.5, "als": {"factors": 64, "alpha": 10.0}}
    assert with_step(params, {"als": {"factors": 128}}) == {"als_weight": 0.5, "als": {"factors": 128, "alpha": 10.0}}
    assert with_step(params, {"als_weight": 1.0, "ease": {"ridge": 3.0}}) == params | {
        "als_weight": 1.0,
        "ease": {"ridge": 3.0},
    }


def test_same_search_is_repeated_on_a_slow_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    candidates = {"popularity": Candidate(Popularity), "ease": Candidate(EASE, {}, (({"ridge": 1.0},),))}
    first = search_models(*SPLIT, candidates, SEARCH)
    slowed: list[TrialTask] = []

    def slow(inputs: EvaluatedInputs, task: TrialTask) -> MeasuredOutcome:
        slowed.append(task)
        time.sleep(0.2)
        outcome = EvaluatedInputs.run(inputs, task)
        return replace(outcome, fit_seconds=500.0) if isinstance(outcome, MeasuredTrial) else outcome

    monkeypatch.setattr(trials, "TRIAL", replace(trials.TRIAL, compute=slow))
    repeated = search_models(*SPLIT, candidates, SEARCH)
    assert len(slowed) == len(repeated.tried) == 3
    assert {trial.fit_seconds for trial in repeated.tried} == {500.0}
    assert [(trial.params, trial.ndcg) for trial in repeated.tried] == [
        (trial.params, trial.ndcg) for trial in first.tried
    ]


def test_blend_with_uninformative_attributes_is_not_tried() -> None:
    world = tasteful()
    tracks = world.track_ids
    random = np.random.default_rng(0)
    for labels, failed in ((tracks % 4, {}), (random.permutation(tracks % 4), {"ease_content"})):
        described = world.with_item_attributes(tracks, {ARTIST: labels.astype(np.int32)})
        candidates = {name: CANDIDATES[name] for name in ("popularity", "content", "ease", "ease_content")}
        selection = search_models(*split_by_user(described), candidates, ModelSearchSettings(k=5, trials=1))
        assert selection.failed_models.keys() == set(failed)
        assert not failed or "content" not in selection.chosen.model


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


def test_settings_beyond_the_limit_of_trials_are_reported_as_skipped() -> None:
    candidates = {"knows": Candidate(broken.Knows, {"upwards": False}, (({"upwards": True},),))}
    selection = search_models(UPWARDS, LATER, candidates, ModelSearchSettings(k=5, trials=1))
    assert selection.chosen.params == {"upwards": False}
    assert selection.skipped == ["knows upwards=True: the limit of 1 trials was reached"]
    assert not selection.seconds_limit_reached


def test_safety_limit_of_seconds_is_reported() -> None:
    candidates = {"knows": Candidate(broken.Knows, {"upwards": False}, (({"upwards": True},),))}
    lines: list[str] = []
    search = ModelSearchSettings(k=5, seconds=0.001, log_progress=lines.append)
    selection = search_models(UPWARDS, LATER, candidates, search)
    assert selection.seconds_limit_reached
    assert selection.skipped == ["knows upwards=True: the limit of 0.001 seconds was reached"]
    assert "the search reached its limit of 0.001 s: another run may try other settings" in lines


def test_weighting_is_kept_only_if_it_wins() -> None:
    good, bad = PlayWeighting(half_life_days=30), PlayWeighting(half_life_days=90)
    # With `good`, all other users play the held-out tracks; with `bad`, nobody does.
    train_with = {
        good: Interactions.from_pairs([30, 30, 31, 31], [9, 8, 9, 8], catalogue=range(10), known_users=USERS),
        bad: Interactions.from_pairs([30, 31], [7, 7], catalogue=range(10), known_users=USERS),
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


def test_search_evaluates_as_many_users_as_scoring_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    assert evaluated_users(41_000) == 9_756
    assert evaluated_users(10**9) == 2_000
    monkeypatch.setattr(model_search, "evaluated_users", lambda tracks: 10)
    selection = search_models(*SPLIT, {"popularity": Candidate(Popularity)}, SEARCH)
    assert len(selection.holdout) == 10
    assert len(selection.chosen.measures.recall) == 10


def test_empty_train_or_holdout_is_refused() -> None:
    no_plays = Interactions.from_pairs([], [])
    with pytest.raises(InteractionsError, match="no plays to learn from"):
        search_models(no_plays, Holdout.from_interactions(no_plays, no_plays), CANDIDATES, SEARCH)
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
    file_format.write(tmp_path / "model.npz", "oracle", 1, {}, {"track_ids": np.array([1])})
    with pytest.raises(ModelFileError, match="is the file of oracle, a model that is not in the registry"):
        load_model(tmp_path / "model.npz")


def _many_users() -> DataSplit:
    """As UPWARDS and LATER, with enough users to stop a trial early."""
    users = np.arange(1, 1_001)
    plays = Interactions.from_pairs(np.repeat(users, 2), [1, 2] * len(users), catalogue=range(10))
    later = Interactions.from_pairs(users, [9, 8] * (len(users) // 2))
    return DataSplit(plays, Holdout.from_interactions(later, plays))


def test_blend_whose_first_start_was_stopped_is_tried_with_the_best_settings_of_its_member() -> None:
    candidates = {
        "knows": Candidate(broken.Knows, {"upwards": True}),
        "near": Candidate(broken.Near, {"start": 8, "offset": 0}),
        "follows": Candidate(broken.Follows, {"member": {"upwards": False}}, members={"member": "knows"}),
    }
    selection = search_models(*_many_users(), candidates, replace(SEARCH, stops_early=True))
    assert [reason.partition(":")[0] for reason in selection.skipped] == ["follows member.upwards=False"]
    assert selection.results["follows"].params == {"member": {"upwards": True}}


def test_setting_that_can_no_longer_win_is_stopped_and_reported() -> None:
    plays, holdout = _many_users()
    candidates = {"knows": Candidate(broken.Knows, {"upwards": True}, (({"upwards": False},),))}
    whole, early = (
        search_models(plays, holdout, candidates, replace(SEARCH, stops_early=stops_early))
        for stops_early in (False, True)
    )
    assert early.chosen.params == whole.chosen.params
    assert (len(whole.tried), len(early.tried)) == (2, 1)
    assert whole.skipped == []
    (skipped,) = early.skipped
    assert skipped.startswith("knows upwards=False: stopped after 125 users: ndcg ")
