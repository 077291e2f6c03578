"""Training: what is learned from, who is asked, which model wins, and whether it may be published.

Models learn from plays before a moment and are asked for what was first played after it. Half of the users asked
choose among the models; the other half judge the chosen one against the champion and against popularity.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from core.errors import ModelError
from recommender.data.interactions import Interactions
from recommender.data.play_log import (
    AS_PLAYED,
    WEIGHTINGS_TO_TRY,
    WEIGHTINGS_TO_TRY_WITH_FEEDBACK,
    PlayLog,
    PlayWeighting,
)
from recommender.evaluation.metrics import RankingMetrics, measure_ranking
from recommender.evaluation.model_search import ModelSearchResult, ModelSearchSettings, ScoredTrial, search_models
from recommender.evaluation.paired_bootstrap import MIN_USERS, Comparison, compare
from recommender.evaluation.splitting import DataSplit, split_by_time, split_by_user
from recommender.evaluation.trials import TrialLimits, run_trial
from recommender.models.champion import Champion
from recommender.models.popularity import GenrePopularity
from recommender.models.recipe import POPULARITIES, Recipe
from recommender.models.registry import CANDIDATES, Candidates

Decision = Literal["published", "fallback", "kept", "blocked", "failed"]

_DAYS_TRIED = (1, 2, 3, 5, 7, 10, 14, 21, 28, 42, 60, 90)
# Of fewer users in all, neither half says anything.
_FEWEST_ASKED = 2 * MIN_USERS
# Of fewer who played on both sides of a day, tracks held out at random say more.
_FEWEST_BY_TIME = 100


@dataclass(frozen=True)
class PromotionSettings:
    """How a training is held. `window_days` is the longest time asked about, `users` how many should be asked.

    A challenger must beat the champion. With a `refresh_margin`, a share of the champion's mean NDCG, it is enough to
    be less than that worse, beyond chance. Models compete with plays `weighed` so; other ways are tried for the winner.
    """

    k: int = 20
    seed: int = 0
    window_days: int = 28
    users: int = 1_000
    confidence: float = 0.975
    refresh_margin: float | None = None
    weighed: PlayWeighting = AS_PLAYED
    limits: TrialLimits = field(default_factory=TrialLimits)
    search_seconds: float = 300.0
    say: Callable[[str], None] = lambda line: None


@dataclass(frozen=True, eq=False)
class EvaluationSplit:
    """What is learned from and what is asked. `split_at` is None where time gave nobody to ask."""

    split: DataSplit
    split_at: np.datetime64 | None
    how: str


@dataclass(frozen=True, eq=False)
class PromotionDecision:
    """What a training came to: the recipe to publish, or the best that was not good enough, and why."""

    recipe: Recipe
    decision: Decision
    why: str
    metrics: Mapping[str, Any] = field(default_factory=dict)

    @property
    def publishes(self) -> bool:
        """Whether something is to go live."""
        return self.decision in ("published", "fallback")


def make_evaluation_split(log: PlayLog, end: np.datetime64, settings: PromotionSettings) -> EvaluationSplit:
    """Split by time: the last days, as few as give enough users to ask, or as give the most.

    When hardly anybody played on both sides of any such moment, tracks are held out at random instead.
    """
    best: tuple[int, int, DataSplit] | None = None
    for days in [days for days in _DAYS_TRIED if days <= settings.window_days]:
        split = split_by_time(log, end - np.timedelta64(days, "D"))
        if best is None or len(split.holdout) > best[1]:
            best = days, len(split.holdout), split
        if len(split.holdout) >= settings.users:
            break
    if best is not None and best[1] >= _FEWEST_BY_TIME:
        days, user_count, split = best
        how = f"{user_count:,} users asked for what they first played in the last {days} day{'s'[: days > 1]}"
        return EvaluationSplit(split, end - np.timedelta64(days, "D"), how)
    split = split_by_user(log.interactions(end), seed=settings.seed)
    how = (
        f"{len(split.holdout):,} users asked for a fifth of their tracks, held out at random, as too few played "
        "on both sides of a day"
    )
    return EvaluationSplit(split, None, how)


def decide_promotion(
    log: PlayLog,
    end: np.datetime64,
    champion: Champion | None,
    models: Path,
    settings: PromotionSettings,
    candidates: Candidates = CANDIDATES,
) -> PromotionDecision:
    """Which recipe is to be published, if any. `models` is the folder of model files. Same input, same verdict.

    Raises InteractionsError when there are no plays at all.
    """
    usable_champion, lost = _usable_champion(champion, models, candidates)
    decision = _decide(log, end, usable_champion, models, settings, candidates)
    if not lost:
        return decision
    why = f"{decision.why}; the champion cannot go on: {lost['out']}"
    return replace(decision, why=why, metrics={**decision.metrics, "champion": lost})


def _decide(
    log: PlayLog,
    end: np.datetime64,
    champion: Champion | None,
    models: Path,
    settings: PromotionSettings,
    candidates: Candidates,
) -> PromotionDecision:
    evaluation_split = make_evaluation_split(log, end, settings)
    if len(evaluation_split.split.holdout) < _FEWEST_ASKED:
        why = f"only {len(evaluation_split.split.holdout)} users can be asked, which says nothing"
        return _without_evidence(champion, why, {"exam": evaluation_split.how})
    search = ModelSearchSettings(
        settings.k,
        settings.seed,
        settings.limits,
        settings.search_seconds,
        deciding_share=0.5,
        weighed=settings.weighed,
        say=settings.say,
    )
    try:
        selection = _choose(log, evaluation_split, candidates, search)
    except ModelError as error:
        return _without_evidence(champion, str(error), {"exam": evaluation_split.how})
    return _PromotionGate(log, evaluation_split, selection, champion, models, settings, candidates).decision()


def _usable_champion(
    champion: Champion | None, models: Path, candidates: Candidates
) -> tuple[Champion | None, dict[str, str]]:
    """The champion, or else what the ledger is told of it: no list can be made of one whose file is lost.

    To keep such a champion would be to keep its last list for ever.
    """
    if champion is None or not champion.recipe.personal:
        return champion, {}
    try:
        champion.load(models, candidates)
    except ModelError as error:
        return None, {"recipe": str(champion.recipe), "out": str(error)}
    return champion, {}


def _choose(
    log: PlayLog, evaluation_split: EvaluationSplit, candidates: Candidates, search: ModelSearchSettings
) -> ModelSearchResult:
    split_at = evaluation_split.split_at
    if split_at is None:
        return search_models(
            evaluation_split.split.train, evaluation_split.split.holdout, candidates, replace(search, weighed=AS_PLAYED)
        )
    options = (AS_PLAYED, *(WEIGHTINGS_TO_TRY_WITH_FEEDBACK if len(log.not_useful.users) else WEIGHTINGS_TO_TRY))
    return search_models(
        log.interactions(split_at, search.weighed),
        evaluation_split.split.holdout,
        candidates,
        search,
        options=[comparison for comparison in options if comparison != search.weighed],
        interactions_with=lambda options: log.interactions(split_at, options),
    )


class _PromotionGate:
    """Holds the chosen model against popularity and the champion, on users who did not choose it."""

    def __init__(
        self,
        log: PlayLog,
        evaluation_split: EvaluationSplit,
        selection: ModelSearchResult,
        champion: Champion | None,
        models: Path,
        settings: PromotionSettings,
        candidates: Candidates,
    ) -> None:
        self._log, self._evaluation_split, self._selection, self._champion = log, evaluation_split, selection, champion
        self._models, self._settings, self._candidates = models, settings, candidates
        self._judging = ~selection.deciding
        self._metrics: dict[str, Any] = {"exam": evaluation_split.how, **_search_metrics(selection)}

    def decision(self) -> PromotionDecision:
        chosen = self._selection.chosen
        recipe = Recipe(chosen.model, chosen.params, chosen.options)
        against: dict[str, Comparison | None] = {}
        if recipe.personal:
            against["popularity"] = self._against_popularity(chosen)
        if self._champion is not None and self._champion.recipe.personal:
            against["the champion"] = self._against_champion(chosen, self._champion)
        comparisons = {name: comparison for name, comparison in against.items() if comparison is not None}
        self._metrics["gate"] = {name: _figures(comparison) for name, comparison in comparisons.items()}
        comparison_text = "; ".join(f"against {name}: {comparison}" for name, comparison in comparisons.items())
        ndcg = self._mean(chosen.measures)
        summary = f"{recipe}: ndcg@{self._settings.k} {ndcg:.4f} of {self._evaluation_split.how}; {comparison_text}"
        if recipe.personal and all(comparison.beats for comparison in comparisons.values()):
            return PromotionDecision(recipe, "published", summary, self._metrics)
        if recipe.personal and self._refreshes(comparisons):
            share = 100 * (self._settings.refresh_margin or 0)
            why = f"a refresh by age: not worse than the champion by {share:g} % or more ({summary})"
            return PromotionDecision(recipe, "published", why, self._metrics)
        if self._champion is None or not self._champion.recipe.personal:
            why = f"no model is better than popularity, so popularity by genre is published ({summary})"
            return PromotionDecision(Recipe(GenrePopularity.name), "fallback", why, self._metrics)
        if not recipe.personal and comparisons and all(comparison.beats for comparison in comparisons.values()):
            why = f"popularity is better than the champion, so popularity by genre is published ({summary})"
            return PromotionDecision(Recipe(GenrePopularity.name), "fallback", why, self._metrics)
        return PromotionDecision(recipe, "kept", f"the champion stays ({summary})", self._metrics)

    def _refreshes(self, comparisons: Mapping[str, Comparison]) -> bool:
        """Whether the chosen one may replace an old champion without beating it: popularity it must beat."""
        champion, share = comparisons.get("the champion"), self._settings.refresh_margin
        if champion is None or share is None:
            return False
        margin = share * self._metrics["champion"]["ndcg"]
        return comparisons["popularity"].beats and champion.not_inferior(margin)

    def _mean(self, measures: RankingMetrics) -> float:
        return float(measures.ndcg[self._judging].mean())

    def _against_popularity(self, chosen: ScoredTrial) -> Comparison:
        """Against the better one, in the eyes of those who chose."""
        measured = [self._selection.results[name] for name in POPULARITIES if name in self._selection.results]
        if not measured:
            nobody = np.empty(0)
            return compare(nobody, nobody)  # which is no win
        return self._compare(chosen.measures, max(measured, key=lambda result: result.ndcg).measures)

    def _against_champion(self, chosen: ScoredTrial, champion: Champion) -> Comparison | None:
        try:
            measures, how = self._champion_measures(champion)
        except ModelError as error:
            self._metrics["champion"] = {"recipe": str(champion.recipe), "out": str(error)}
            self._settings.say(f"the champion cannot be measured: {error}")
            return None
        self._metrics["champion"] = {"recipe": str(champion.recipe), "how": how, "ndcg": self._mean(measures)}
        return self._compare(chosen.measures, measures)

    def _champion_measures(self, champion: Champion) -> tuple[RankingMetrics, str]:
        """As it is live, if it has seen nothing of what is asked; else its recipe, trained like the others."""
        train, split_at = self._evaluation_split.split.train, self._evaluation_split.split_at
        holdout, k = self._selection.holdout, self._selection.k
        known = train if split_at is None else self._log.interactions(split_at, champion.recipe.options)
        if split_at is not None and np.datetime64(champion.data_as_of.replace(tzinfo=None), "us") <= split_at:
            try:
                ranking = (
                    champion.load(self._models, self._candidates)
                    .fold_in(known)
                    .recommend(holdout.users, k, exclude=train)
                )
                return measure_ranking(ranking, holdout, train, k), "as it is live"
            except ModelError as error:
                self._settings.say(f"the champion's file cannot be used: {error}")
        for result in self._selection.tried:
            if Recipe(result.model, result.params, result.options) == champion.recipe:
                return result.measures, "its recipe, trained again"
        if champion.recipe.model not in self._candidates:
            raise ModelError(f"{champion.recipe.model} is no longer in the registry")
        make, settings = self._candidates[champion.recipe.model].make, champion.recipe.settings
        n = min(k, len(train.track_ids))
        limits = self._settings.limits
        trial = run_trial(make, settings, known, holdout.users, n, exclude=train, limits=limits)
        return measure_ranking(trial.ranking, holdout, train, k), "its recipe, trained again"

    def _compare(self, challenger: RankingMetrics, other: RankingMetrics) -> Comparison:
        return compare(
            challenger.ndcg[self._judging],
            other.ndcg[self._judging],
            seed=self._settings.seed,
            confidence=self._settings.confidence,
        )


def train_model(
    recipe: Recipe, interactions: Interactions, limits: TrialLimits, save_to: Path, candidates: Candidates = CANDIDATES
) -> None:
    """Learn from everything, in a process with limits, and write the model to a file. Raises ModelError."""
    nobody = np.empty(0, np.int64)
    run_trial(candidates[recipe.model].make, recipe.settings, interactions, nobody, 1, limits=limits, save_to=save_to)


def _without_evidence(champion: Champion | None, why: str, metrics: Mapping[str, Any]) -> PromotionDecision:
    if champion is not None and champion.recipe.personal:
        return PromotionDecision(champion.recipe, "kept", f"the champion stays: {why}", metrics)
    return PromotionDecision(
        Recipe(GenrePopularity.name), "fallback", f"popularity by genre is published: {why}", metrics
    )


def _search_metrics(selection: ModelSearchResult) -> dict[str, Any]:
    return {
        "k": selection.k,
        "listeners_choosing": int(selection.deciding.sum()),
        "listeners_judging": int((~selection.deciding).sum()),
        "models": {
            name: {
                "settings": dict(result.params),
                "options": str(result.options),
                "ndcg_choosing": result.ndcg,
                "recall": result.measures.mean_recall,
                "ndcg": result.measures.mean_ndcg,
                "coverage": result.measures.coverage,
                "novelty": result.measures.novelty,
                "fit_seconds": round(result.fit_seconds, 2),
                "score_seconds": round(result.score_seconds, 2),
                "peak_memory_mb": round(result.peak_memory_mb),
            }
            for name, result in selection.results.items()
        },
        "out": dict(selection.out),
        "failed": list(selection.failed),
        "skipped": list(selection.skipped),
    }


def _figures(comparison: Comparison) -> dict[str, Any]:
    bounds = {"mean": comparison.mean, "lower": comparison.lower, "upper": comparison.upper}
    finite = {name: value if np.isfinite(value) else None for name, value in bounds.items()}
    return finite | {
        "listeners": comparison.users,
        "confidence": comparison.confidence,
        "why_not": comparison.why_not,
    }
