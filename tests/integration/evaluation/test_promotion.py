"""Promotion: the evaluation split by time, the gate, and the refresh of an old model."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from core.file_store import FolderStore
from recommender.data.interactions import Interactions
from recommender.data.play_log import SHORT_MEMORY, PlayLog
from recommender.evaluation.metrics import RankingMetrics
from recommender.evaluation.model_search import ModelSearchResult, ScoredTrial
from recommender.evaluation.paired_bootstrap import MIN_USERS, Comparison
from recommender.evaluation.promotion import (
    EvaluationSplit,
    PromotionDecision,
    PromotionSettings,
    _PromotionGate,
    _retired_version,
    decide_promotion,
    make_evaluation_split,
)
from recommender.evaluation.splitting import DataSplit, Holdout
from recommender.models import file_format
from recommender.models.champion import Champion
from recommender.models.recipe import Recipe
from recommender.models.registry import CANDIDATES
from tests.publications import QUICK_CANDIDATES

END = np.datetime64("2024-03-31T01:30:01", "s")


def log_of(*groups: tuple[int, float]) -> PlayLog:
    """Users who played one track 100 days ago, and another track `days` before the end."""
    users, tracks, times = [], [], []
    for count, days in groups:
        for _ in range(count):
            user = len(users)
            users += [user, user]
            tracks += [1, 2]
            times += [END - np.timedelta64(100, "D"), END - np.timedelta64(int(days * 86_400), "s")]
    return PlayLog(np.array(users), np.array(tracks), np.ones(len(users)), np.array(times, "datetime64[s]"))


@pytest.mark.parametrize(
    ("groups", "days", "holdout_users"),
    [
        (((200, 0.5), (50, 6)), 1, 200),  # enough on the last day
        (((199, 0.5), (50, 6)), 7, 249),  # the fewest days that give enough
        (((130, 0.5), (20, 6), (10, 27)), 28, 160),  # never enough: the most users
        (((130, 0.5), (50, 40)), 1, 130),  # plays before the window do not count; fewer days win a tie
        (((130, 1),), 1, 130),  # the split time itself belongs to the holdout
        (((130, 1.001),), 2, 130),
    ],
)
def test_split_holds_out_the_fewest_days_with_enough_users(
    groups: tuple[tuple[int, float], ...], days: int, holdout_users: int
) -> None:
    split = make_evaluation_split(log_of(*groups), END, PromotionSettings(users=200, window_days=28))
    assert split.split_at == END - np.timedelta64(days, "D")
    assert len(split.split.holdout) == holdout_users
    assert split.description.startswith(f"{holdout_users} users, first plays of the last {days} day")
    assert split.description.endswith("days" if days > 1 else "day")


def test_split_stays_within_the_window() -> None:
    split = make_evaluation_split(log_of((130, 0.5), (150, 6)), END, PromotionSettings(users=200, window_days=4))
    assert (split.split_at, len(split.split.holdout)) == (END - np.timedelta64(1, "D"), 130)


def test_split_is_random_when_too_few_users_qualify_by_time() -> None:
    split = make_evaluation_split(log_of((99, 0.5), (31, 50)), END, PromotionSettings(users=100))
    assert split.split_at is None
    assert len(split.split.holdout) == 130
    assert split.description == (
        "130 users, a tenth of their tracks held out at random because too few users played "
        "before and after a split time"
    )
    repeated = make_evaluation_split(log_of((99, 0.5), (31, 50)), END, PromotionSettings(users=100))
    assert np.array_equal(split.split.holdout.tracks, repeated.split.holdout.tracks)


CHAMPION = Champion(1, 1, 1, Recipe("old"), None, None, datetime(2024, 1, 1, tzinfo=UTC))


def ndcg(mean: float, seed: int, users: int = 600) -> np.ndarray:
    """Random NDCG values around a mean."""
    return np.random.default_rng(seed).uniform(mean - 0.1, mean + 0.1, users)


MODEL_FILES = Path(__file__).parents[2] / "data" / "models"
OLD, POPULAR = ndcg(0.3, 0), ndcg(0.15, 1)


def decide(
    challenger: np.ndarray,
    margin: float | None,
    champion: np.ndarray = OLD,
    popularity: np.ndarray = POPULAR,
    live: Champion = CHAMPION,
    retired_version: int | None = None,
) -> PromotionDecision:
    """The decision about a challenger when the champion was trained again; the gate uses half of the users."""
    measured = {
        name: ScoredTrial(name, {}, RankingMetrics(values, values, 1, 1), float(values.mean()), 0, 0, 0)
        for name, values in (("new", challenger), ("old", champion), ("popularity", popularity))
    }
    users = np.arange(len(challenger))
    train = Interactions.from_pairs(users, users)
    split = DataSplit(train, Holdout.from_interactions(Interactions.from_pairs(users, users + 1), train))
    selection = ModelSearchResult(split.holdout, users % 2 == 0, 20, measured, {}, list(measured.values()), [], [])
    gate = _PromotionGate(
        log_of(),
        EvaluationSplit(split, None, "all"),
        selection,
        live,
        retired_version,
        FolderStore(MODEL_FILES),
        PromotionSettings(refresh_margin=margin),
        CANDIDATES,
    )
    return gate.decision()


@pytest.mark.parametrize(
    "challenger",
    [OLD, OLD + np.random.default_rng(2).normal(0, 0.02, len(OLD))],
    ids=["the same recommendations", "as good"],
)
def test_equal_challenger_replaces_the_champion_only_by_age(challenger: np.ndarray) -> None:
    without_margin = decide(challenger, None)
    assert (without_margin.decision, without_margin.why[:20]) == ("kept", "the champion stays (")

    with_margin = decide(challenger, 0.05)

    assert (with_margin.decision, with_margin.recipe.model) == ("published", "new")
    assert with_margin.why.startswith("a refresh by age: less than 5 % worse than the champion (new: ndcg@20 0.3")
    assert "against popularity: better" in with_margin.why


def test_winning_challenger_is_not_reported_as_a_refresh() -> None:
    why = {decide(OLD + 0.1 * POPULAR, margin).why for margin in (None, 0.05)}
    assert len(why) == 1
    assert "against the champion: better" in why.pop()


@pytest.mark.parametrize("name", ["content", "graph_filter"])
def test_retired_champion_that_cannot_be_trained_at_the_split_is_named_in_the_decision(name: str) -> None:
    file = MODEL_FILES / f"{name}.npz"
    recipe = Recipe(name, file_format.read(file).params)
    retired = replace(CHAMPION, recipe=recipe, model_file=file.name, model_digest=file_format.digest(file))
    version = _retired_version(retired.load(FolderStore(MODEL_FILES)))
    reason = f"the champion was not compared, because version 1 of {name} is retired"

    published = decide(OLD, None, live=retired, retired_version=version)
    assert published.decision == "published"
    assert reason in published.why
    assert "against popularity: better" in published.why
    assert str(published.metrics["champion"]["out"]).startswith(f"version 1 of {name} is retired")

    kept = decide(OLD, 0.5, popularity=OLD + 0.1 * POPULAR, live=retired, retired_version=version)
    assert (kept.decision, reason in kept.why) == ("kept", True)


def test_clearly_worse_challenger_does_not_replace_the_champion_by_age() -> None:
    challenger = OLD - ndcg(0.1, 3) * 0.4  # by about 0.04 of 0.3
    assert decide(challenger, 0.05).decision == "kept"
    assert decide(challenger, 0.25).decision == "published"


def test_refresh_margin_is_a_share_of_the_champions_ndcg() -> None:
    """0.02 worse is 7 % of a champion of 0.3, and 3 % of one of 0.6."""
    loss = ndcg(0.1, 3) * 0.2
    assert decide(OLD - loss, 0.05).decision == "kept"
    assert decide(OLD + 0.3 - loss, 0.05, OLD + 0.3).decision == "published"


def test_too_few_users_do_not_refresh() -> None:
    too_few = slice(2 * MIN_USERS - 2)
    decision = decide(OLD[too_few], 0.5, OLD[too_few], POPULAR[too_few])
    assert decision.decision == "kept"
    assert f"against the champion: no win: {MIN_USERS - 1} users are too few" in decision.why
    no_evidence = Comparison(0, -np.inf, np.inf, MIN_USERS - 1, 0.975, "too few")
    assert not any(no_evidence.not_inferior(margin) for margin in (0, 0.5, 1e9, np.inf))


def test_refresh_by_age_must_still_beat_popularity() -> None:
    assert decide(OLD, 0.5, popularity=OLD).decision == "kept"
    assert decide(OLD, 0.5, popularity=OLD + 0.1 * POPULAR).decision == "kept"


def changed_tastes(user_count: int = 240, seed: int = 0) -> PlayLog:
    """For months all users play the tracks of their group; in the last three days they play those of the next group."""
    random = np.random.default_rng(seed)
    users, tracks, days = [], [], []
    for user in range(user_count):
        for day in [*random.uniform(4, 80, 25), *random.uniform(1, 3, 6), random.uniform(0, 1)]:
            likes = (user if day > 3 else user + 1) % 4
            users.append(user)
            tracks.append(int(4 * random.integers(0, 25) + likes))
            days.append(day)
    times = END - (np.array(days) * 86_400).astype("timedelta64[s]")
    return PlayLog(np.array(users), np.array(tracks), np.ones(len(users)), times.astype("datetime64[s]"))


def test_short_memory_wins_after_a_change_of_tastes(tmp_path: Path) -> None:
    rules = PromotionSettings(users=200, search_seconds=600, weighting=SHORT_MEMORY)
    decision = decide_promotion(changed_tastes(), END, None, FolderStore(tmp_path), rules, dict(QUICK_CANDIDATES))
    assert decision.decision == "published"
    assert decision.recipe.weighting == SHORT_MEMORY
    tried = {figures["options"] for figures in decision.metrics["models"].values()}
    assert "as played" not in tried  # it was tried and did not win


def test_gate_measures_lists_as_they_are_published(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    plain, reranked = (
        decide_promotion(
            changed_tastes(),
            END,
            None,
            store,
            PromotionSettings(k=5, users=200, diversity=strength),
            dict(QUICK_CANDIDATES),
        ).metrics["models"]["popularity"]
        for strength in (0.0, 0.5)
    )
    assert reranked["coverage"] > 1.5 * plain["coverage"]
    assert reranked["popularity_bias"] <= plain["popularity_bias"]


def test_random_split_uses_unweighted_plays(tmp_path: Path) -> None:
    rules = PromotionSettings(users=100, search_seconds=600, weighting=SHORT_MEMORY)
    decision = decide_promotion(
        log_of((99, 0.5), (31, 50)),
        END,
        None,
        FolderStore(tmp_path),
        rules,
        dict(QUICK_CANDIDATES),
    )
    assert {figures["options"] for figures in decision.metrics["models"].values()} == {"as played"}
