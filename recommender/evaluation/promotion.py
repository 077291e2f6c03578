"""Promotion: split the plays, search the best model, and decide whether it replaces the champion.

Models learn from the plays before a split time. The holdout is what users first played after it. Half of the holdout
users choose the model; the gate compares the chosen model with the champion and popularity on the other half.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from compute.blocks import IN_PROCESS, BlockRunner
from core.errors import ModelError
from core.file_store import FileStore
from recommender.data.interactions import Interactions
from recommender.data.play_log import (
    AS_PLAYED,
    WEIGHTINGS_TO_TRY,
    WEIGHTINGS_TO_TRY_WITH_FEEDBACK,
    PlayLog,
    PlayWeighting,
)
from recommender.evaluation.metrics import RankingMetrics
from recommender.evaluation.model_search import ModelSearchResult, ModelSearchSettings, ScoredTrial, search_models
from recommender.evaluation.paired_bootstrap import MIN_USERS, Comparison, compare
from recommender.evaluation.splitting import DataSplit, split_by_time, split_by_user
from recommender.evaluation.trials import (
    HoldoutEvaluation,
    MeasuredTrial,
    TrialLimits,
    TrialRunner,
    TrialTask,
    run_trial,
)
from recommender.models.base import Recommender
from recommender.models.champion import Champion
from recommender.models.popularity import GenrePopularity
from recommender.models.recipe import POPULARITIES, Recipe
from recommender.models.registry import CANDIDATES, Candidates
from recommender.models.retired import RETIRED

Decision = Literal["published", "fallback", "kept", "blocked", "failed"]

_DAYS_TRIED = (1, 2, 3, 5, 7, 10, 14, 21, 28, 42, 60, 90)
# Each half of the holdout needs MIN_USERS.
_MIN_HOLDOUT_USERS = 2 * MIN_USERS
# With fewer users on both sides of a split time, a random split is more reliable.
_MIN_USERS_BY_TIME = 100


@dataclass(frozen=True)
class PromotionSettings:
    """Settings of a training. `window_days` limits the length of the holdout; `users` is its desired size.

    A challenger must beat the champion. With a `refresh_margin` (a share of the champion's mean NDCG), it is enough
    that the challenger is less than this margin worse, beyond chance. All models learn with the same `weighting`;
    other weightings are tried for the winner. All lists, also those of the champion, are re-ranked with `diversity`, as
    the published ones are. `blocks` runs the trials.
    """

    k: int = 20
    seed: int = 0
    window_days: int = 28
    users: int = 8_000
    confidence: float = 0.975
    refresh_margin: float | None = None
    weighting: PlayWeighting = AS_PLAYED
    limits: TrialLimits = field(default_factory=TrialLimits)
    diversity: float = 0.0
    search_trials: int = 40
    search_seconds: float = 3_600.0
    log_progress: Callable[[str], None] = lambda line: None
    blocks: BlockRunner = IN_PROCESS


@dataclass(frozen=True, eq=False)
class EvaluationSplit:
    """Training data and holdout. `split_at` is None for a random split."""

    split: DataSplit
    split_at: np.datetime64 | None
    description: str


@dataclass(frozen=True, eq=False)
class PromotionDecision:
    """The outcome of a training: the recipe to publish, or the best recipe that was not good enough, and the reason."""

    recipe: Recipe
    decision: Decision
    why: str
    metrics: Mapping[str, Any] = field(default_factory=dict)

    @property
    def publishes(self) -> bool:
        """Whether the decision leads to a publication."""
        return self.decision in ("published", "fallback")


def make_evaluation_split(log: PlayLog, end: np.datetime64, settings: PromotionSettings) -> EvaluationSplit:
    """Split by time: hold out the fewest last days that give enough users, or else the most users.

    If too few users played on both sides of every split time, hold out tracks at random instead.
    """
    best: tuple[int, int, DataSplit] | None = None
    for days in [days for days in _DAYS_TRIED if days <= settings.window_days]:
        split = split_by_time(log, end - np.timedelta64(days, "D"))
        if best is None or len(split.holdout) > best[1]:
            best = days, len(split.holdout), split
        if len(split.holdout) >= settings.users:
            break
    if best is not None and best[1] >= _MIN_USERS_BY_TIME:
        days, user_count, split = best
        description = f"{user_count:,} users, first plays of the last {days} day{'s'[: days > 1]}"
        return EvaluationSplit(split, end - np.timedelta64(days, "D"), description)
    split = split_by_user(log.interactions(end), seed=settings.seed)
    description = (
        f"{len(split.holdout):,} users, a tenth of their tracks held out at random because too few users played "
        "before and after a split time"
    )
    return EvaluationSplit(split, None, description)


def decide_promotion(
    log: PlayLog,
    end: np.datetime64,
    champion: Champion | None,
    models: FileStore,
    settings: PromotionSettings,
    candidates: Candidates = CANDIDATES,
) -> PromotionDecision:
    """Decide which recipe to publish, if any. `models` has the model files. The decision is deterministic.

    Raises InteractionsError when there are no plays.
    """
    failure, retired = {}, None
    if champion is not None and champion.recipe.is_personalised:
        try:
            retired = _retired_version(champion.load(models, candidates))
        except ModelError as error:
            # Without a usable file it must not be kept: its recommendations could never be renewed.
            failure = {"recipe": str(champion.recipe), "out": str(error)}
    decision = _decide(log, end, None if failure else champion, retired, models, settings, candidates)
    if not failure:
        return decision
    why = f"{decision.why}; the champion is not usable: {failure['out']}"
    return replace(decision, why=why, metrics={**decision.metrics, "champion": failure})


def _decide(
    log: PlayLog,
    end: np.datetime64,
    champion: Champion | None,
    retired: int | None,
    models: FileStore,
    settings: PromotionSettings,
    candidates: Candidates,
) -> PromotionDecision:
    evaluation_split = make_evaluation_split(log, end, settings)
    if len(evaluation_split.split.holdout) < _MIN_HOLDOUT_USERS:
        why = f"the holdout has only {len(evaluation_split.split.holdout)} users, {_MIN_HOLDOUT_USERS} are needed"
        return _without_evidence(champion, why, {"exam": evaluation_split.description})
    search = ModelSearchSettings(
        settings.k,
        settings.seed,
        settings.limits,
        settings.search_trials,
        settings.search_seconds,
        selection_share=0.5,
        weighting=settings.weighting,
        diversity=settings.diversity,
        log_progress=settings.log_progress,
        blocks=settings.blocks,
        stops_early=True,
    )
    try:
        selection = _search(log, evaluation_split, candidates, search)
    except ModelError as error:
        return _without_evidence(champion, str(error), {"exam": evaluation_split.description})
    return _PromotionGate(log, evaluation_split, selection, champion, retired, models, settings, candidates).decision()


def _retired_version(model: Recommender) -> int | None:
    """The version of a model that is only loaded, no longer trained."""
    return model.version if type(model) in RETIRED.values() else None


def _search(
    log: PlayLog, evaluation_split: EvaluationSplit, candidates: Candidates, search: ModelSearchSettings
) -> ModelSearchResult:
    split_at = evaluation_split.split_at
    if split_at is None:
        return search_models(
            evaluation_split.split.train,
            evaluation_split.split.holdout,
            candidates,
            replace(search, weighting=AS_PLAYED),
        )
    weightings = (AS_PLAYED, *(WEIGHTINGS_TO_TRY_WITH_FEEDBACK if len(log.not_useful.users) else WEIGHTINGS_TO_TRY))
    train = evaluation_split.split.train  # as played
    return search_models(
        train if search.weighting == AS_PLAYED else log.interactions(split_at, search.weighting),
        evaluation_split.split.holdout,
        candidates,
        search,
        weightings=[weighting for weighting in weightings if weighting != search.weighting],
        interactions_with=lambda weighting: log.interactions(split_at, weighting),
    )


class _PromotionGate:
    """Compare the chosen model with popularity and the champion, on users who did not choose it."""

    def __init__(
        self,
        log: PlayLog,
        evaluation_split: EvaluationSplit,
        selection: ModelSearchResult,
        champion: Champion | None,
        retired: int | None,
        models: FileStore,
        settings: PromotionSettings,
        candidates: Candidates,
    ) -> None:
        self._log, self._evaluation_split, self._selection = log, evaluation_split, selection
        self._champion, self._retired = champion, retired
        self._models, self._settings, self._candidates = models, settings, candidates
        self._gating = ~selection.selecting
        self._uncompared = ""
        self._metrics: dict[str, Any] = {"exam": evaluation_split.description, **_search_metrics(selection)}

    def decision(self) -> PromotionDecision:
        chosen = self._selection.chosen
        recipe = Recipe(chosen.model, chosen.params, chosen.weighting)
        opponents: dict[str, Comparison | None] = {}
        if recipe.is_personalised:
            opponents["popularity"] = self._against_popularity(chosen)
        if self._champion is not None and self._champion.recipe.is_personalised:
            opponents["the champion"] = self._against_champion(chosen, self._champion)
        comparisons = {name: comparison for name, comparison in opponents.items() if comparison is not None}
        self._metrics["gate"] = {name: _figures(comparison) for name, comparison in comparisons.items()}
        parts = [f"against {name}: {comparison}" for name, comparison in comparisons.items()]
        comparison_text = "; ".join([*parts, *filter(None, [self._uncompared])])
        ndcg = self._mean(chosen.measures)
        summary = (
            f"{recipe}: ndcg@{self._settings.k} {ndcg:.4f} on {self._evaluation_split.description}; {comparison_text}"
        )
        if recipe.is_personalised and all(comparison.beats for comparison in comparisons.values()):
            return PromotionDecision(recipe, "published", summary, self._metrics)
        if recipe.is_personalised and self._refreshes(comparisons):
            share = 100 * (self._settings.refresh_margin or 0)
            why = f"a refresh by age: less than {share:g} % worse than the champion ({summary})"
            return PromotionDecision(recipe, "published", why, self._metrics)
        if self._champion is None or not self._champion.recipe.is_personalised:
            why = f"no model is better than popularity, so popularity by genre is published ({summary})"
            return PromotionDecision(Recipe(GenrePopularity.name), "fallback", why, self._metrics)
        if not recipe.is_personalised and comparisons and all(comparison.beats for comparison in comparisons.values()):
            why = f"popularity is better than the champion, so popularity by genre is published ({summary})"
            return PromotionDecision(Recipe(GenrePopularity.name), "fallback", why, self._metrics)
        return PromotionDecision(recipe, "kept", f"the champion stays ({summary})", self._metrics)

    def _refreshes(self, comparisons: Mapping[str, Comparison]) -> bool:
        """Whether the challenger may replace an old champion without beating it. It must beat popularity."""
        champion, share = comparisons.get("the champion"), self._settings.refresh_margin
        if champion is None or share is None:
            return False
        margin = share * self._metrics["champion"]["ndcg"]
        return comparisons["popularity"].beats and champion.not_inferior(margin)

    def _mean(self, measures: RankingMetrics) -> float:
        return float(measures.ndcg[self._gating].mean())

    def _against_popularity(self, chosen: ScoredTrial) -> Comparison:
        """Compare with the popularity model that is better for the selecting users."""
        measured = [self._selection.results[name] for name in POPULARITIES if name in self._selection.results]
        if not measured:
            no_users = np.empty(0)
            return compare(no_users, no_users)  # inconclusive
        return self._compare(chosen.measures, max(measured, key=lambda result: result.ndcg).measures)

    def _against_champion(self, chosen: ScoredTrial, champion: Champion) -> Comparison | None:
        try:
            measures, method = self._champion_measures(champion)
        except ModelError as error:
            self._metrics["champion"] = {"recipe": str(champion.recipe), "out": str(error)}
            self._uncompared = f"the champion was not compared, because {error}"
            self._settings.log_progress(self._uncompared)
            return None
        self._metrics["champion"] = {"recipe": str(champion.recipe), "how": method, "ndcg": self._mean(measures)}
        return self._compare(chosen.measures, measures)

    def _champion_measures(self, champion: Champion) -> tuple[RankingMetrics, str]:
        """Measure the live model if it has not learned from the holdout, otherwise its recipe, trained again."""
        evaluation, split_at = self._evaluation, self._evaluation_split.split_at
        train, weighting = evaluation.train, champion.recipe.weighting
        histories = train if split_at is None or weighting == AS_PLAYED else self._log.interactions(split_at, weighting)
        if split_at is not None and np.datetime64(champion.data_as_of.replace(tzinfo=None), "us") <= split_at:
            try:
                ranking = (
                    champion.load(self._models, self._candidates)
                    .fold_in(histories)
                    .recommend(evaluation.holdout.users, evaluation.candidates, exclude=train)
                )
                return evaluation.measure(ranking), "as it is live"
            except ModelError as error:
                self._settings.log_progress(f"the champion's file is not usable: {error}")
        if self._retired is not None:
            raise ModelError(
                f"version {self._retired} of {champion.recipe.model} is retired: it cannot be trained on the plays "
                "before the split, and the live model has learned later ones"
            )
        for result in self._selection.tried:
            if Recipe(result.model, result.params, result.weighting) == champion.recipe:
                return result.measures, "its recipe, trained again"
        if champion.recipe.model not in self._candidates:
            raise ModelError(f"{champion.recipe.model} is no longer in the registry")
        model_class, settings = self._candidates[champion.recipe.model].model_class, champion.recipe.settings
        with TrialRunner.prepare(histories, evaluation, self._settings.blocks) as runner:
            ((_, trial),) = runner.run_all([TrialTask(model_class, settings, self._settings.limits)])
        if not isinstance(trial, MeasuredTrial):
            raise ModelError(trial.reason)
        return trial.measures, "its recipe, trained again"

    @property
    def _evaluation(self) -> HoldoutEvaluation:
        train, settings = self._evaluation_split.split.train, self._settings
        return HoldoutEvaluation(self._selection.holdout, train, settings.k, settings.diversity, settings.seed)

    def _compare(self, challenger: RankingMetrics, opponent: RankingMetrics) -> Comparison:
        return compare(
            challenger.ndcg[self._gating],
            opponent.ndcg[self._gating],
            seed=self._settings.seed,
            confidence=self._settings.confidence,
        )


def train_model(
    recipe: Recipe, interactions: Interactions, limits: TrialLimits, save_to: Path, candidates: Candidates = CANDIDATES
) -> None:
    """Fit a model on all interactions in a limited process, and write it to a file. Raises ModelError."""
    no_users = np.empty(0, np.int64)
    run_trial(
        candidates[recipe.model].model_class, recipe.settings, interactions, no_users, 1, limits=limits, save_to=save_to
    )


def _without_evidence(champion: Champion | None, why: str, metrics: Mapping[str, Any]) -> PromotionDecision:
    if champion is not None and champion.recipe.is_personalised:
        return PromotionDecision(champion.recipe, "kept", f"the champion stays: {why}", metrics)
    return PromotionDecision(
        Recipe(GenrePopularity.name), "fallback", f"popularity by genre is published: {why}", metrics
    )


def _search_metrics(selection: ModelSearchResult) -> dict[str, Any]:
    return {
        "k": selection.k,
        "listeners_choosing": int(selection.selecting.sum()),
        "listeners_judging": int((~selection.selecting).sum()),
        "models": {
            name: {
                "settings": dict(result.params),
                "options": str(result.weighting),
                "ndcg_choosing": result.ndcg,
                "recall": result.measures.mean_recall,
                "ndcg": result.measures.mean_ndcg,
                **_interval(result.measures.ndcg),
                "coverage": result.measures.coverage,
                "novelty": result.measures.novelty,
                "intra_list_diversity": result.measures.intra_list_diversity,
                "popularity_bias": result.measures.popularity_bias,
                "fit_seconds": round(result.fit_seconds, 2),
                "score_seconds": round(result.score_seconds, 2),
                "peak_memory_mb": round(result.peak_memory_mb),
            }
            for name, result in selection.results.items()
        },
        "out": dict(selection.failed_models),
        "failed": list(selection.failed),
        "skipped": list(selection.skipped),
        "seconds_limit_reached": selection.seconds_limit_reached,
    }


def _interval(ndcg: np.ndarray) -> dict[str, float]:
    """The 95 percent confidence interval of the mean over users, by the normal approximation."""
    if len(ndcg) < 2:
        return {}
    mean, error = float(ndcg.mean()), float(ndcg.std(ddof=1)) / len(ndcg) ** 0.5
    return {"ndcg_lower": mean - 1.96 * error, "ndcg_upper": mean + 1.96 * error}


def _figures(comparison: Comparison) -> dict[str, Any]:
    bounds = {"mean": comparison.mean, "lower": comparison.lower, "upper": comparison.upper}
    finite = {name: value if np.isfinite(value) else None for name, value in bounds.items()}
    return finite | {
        "listeners": comparison.users,
        "confidence": comparison.confidence,
        "why_not": comparison.inconclusive_reason,
    }
