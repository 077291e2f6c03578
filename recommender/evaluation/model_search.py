"""Model search: try every candidate on the same holdout, and choose the highest mean NDCG."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from core.errors import InteractionsError, ModelError
from recommender.data.interactions import Interactions
from recommender.data.play_log import AS_PLAYED, PlayWeighting
from recommender.evaluation.metrics import RankingMetrics, measure_ranking
from recommender.evaluation.splitting import Holdout
from recommender.evaluation.trials import TrialLimits, TrialRunner
from recommender.models.base import Params
from recommender.models.registry import CANDIDATES, Candidates

# Further settings are tried for this many models: those with the best first setting.
MODELS_TUNED = 3


@dataclass(frozen=True, eq=False)
class ScoredTrial:
    """One model with one setting, measured on the users of `ModelSearchResult.holdout`, in their order.

    `ndcg` is the mean over the selecting users. The search chooses by it.
    """

    model: str
    params: Params
    measures: RankingMetrics
    ndcg: float
    fit_seconds: float
    score_seconds: float
    peak_memory_mb: float
    weighting: PlayWeighting = AS_PLAYED


@dataclass(frozen=True, eq=False)
class ModelSearchResult:
    """The outcome of a model search.

    `selecting` marks the users of `holdout` whose results choose the model. The gate uses the other users, so that the
    luck of the winner does not count twice. `results` has the best setting of each model, best model first.
    `failed_models` has the reason of each model without a result. `tried` has every measured trial; `failed` and
    `skipped` describe the other settings.
    """

    holdout: Holdout
    selecting: NDArray[np.bool_]
    k: int
    results: Mapping[str, ScoredTrial]
    failed_models: Mapping[str, str]
    tried: Sequence[ScoredTrial]
    failed: Sequence[str]
    skipped: Sequence[str]

    @property
    def chosen(self) -> ScoredTrial:
        """The trial with the highest mean NDCG; the earlier model in the registry wins a tie."""
        return next(iter(self.results.values()))


@dataclass(frozen=True)
class ModelSearchSettings:
    """Settings of a model search. A running trial may take up to `limits.seconds` beyond the budget.

    At most `users` users are evaluated. A random share of them, `selection_share`, chooses the model. `weighting` is
    the weighting of the training plays.
    """

    k: int = 20
    seed: int = 0
    limits: TrialLimits = field(default_factory=TrialLimits)
    budget_seconds: float = 240.0
    users: int = 5_000
    selection_share: float = 1.0
    weighting: PlayWeighting = AS_PLAYED
    log_progress: Callable[[str], None] = lambda line: None


def search_models(
    train: Interactions,
    holdout: Holdout,
    candidates: Candidates = CANDIDATES,
    search: ModelSearchSettings | None = None,
    *,
    weightings: Sequence[PlayWeighting] = (),
    interactions_with: Callable[[PlayWeighting], Interactions] | None = None,
) -> ModelSearchResult:
    """Try every candidate, and choose the best. The search is deterministic unless the budget runs out.

    The first setting of each model is always tried. Within the budget, the search also tries further settings of the
    best models, of a leading blend, and `weightings` for the winner. `interactions_with` returns train with a
    weighting. Raises InteractionsError when train or the holdout is empty, ModelError when every model failed.
    """
    search = search or ModelSearchSettings()
    if not len(train):
        raise InteractionsError("there are no plays to learn from")
    if not len(holdout):
        raise InteractionsError("no user has both training plays and held-out plays")
    search_run = _ModelSearch(train, holdout.sample(search.users, search.seed), candidates, search)
    search_run.run()
    if interactions_with is not None:
        for weighting in weightings:
            search_run.try_weighting(weighting, interactions_with)
    return search_run.result()


class _ModelSearch:
    """The trials of one search and their results."""

    def __init__(
        self, train: Interactions, holdout: Holdout, candidates: Candidates, search: ModelSearchSettings
    ) -> None:
        self._train, self._holdout, self._candidates, self._search = train, holdout, candidates, search
        user_count = len(holdout)
        order = np.random.default_rng(search.seed).permutation(user_count)
        self._selecting = np.zeros(user_count, bool)
        self._selecting[order[: max(1, round(search.selection_share * user_count))]] = True
        self._until = time.monotonic() + search.budget_seconds
        self._best: dict[str, ScoredTrial] = {}
        self._seconds: dict[str, float] = {}  # duration of the last trial of each model
        self._tried: list[ScoredTrial] = []
        self._failures: dict[str, str] = {}
        self._failed: list[str] = []
        self._skipped: list[str] = []

    def run(self) -> None:
        single = [name for name, candidate in self._candidates.items() if not candidate.members]
        blends = [name for name in self._candidates if name not in single]
        with self._trial_runner(self._train) as runner:
            self._try_first_settings(runner, single)
            for name in [name for name in self._ranked() if self._candidates[name].directions][:MODELS_TUNED]:
                self._try_directions(runner, name)
            self._try_first_settings(runner, blends)
            for name in [name for name in list(self._ranked())[:1] if name in blends]:
                self._try_directions(runner, name)

    def _try_first_settings(self, runner: TrialRunner, names: Sequence[str]) -> None:
        for name in names:
            candidate = self._candidates[name]
            failed = [name for name in candidate.members.values() if name in self._failures and name not in self._best]
            if failed:
                self._failures[name] = f"has the member {failed[0]}, which failed"
                continue
            members = {
                parameter: self._best[member].params
                for parameter, member in candidate.members.items()
                if member in self._best
            }
            self._try(runner, name, {**candidate.settings, **members})

    def _try_directions(self, runner: TrialRunner, name: str) -> None:
        improved: set[str] = set()
        for direction in self._candidates[name].directions:
            if improved & direction[0].keys():
                continue  # an earlier direction already improved this parameter
            for step in direction:
                params = {**self._best[name].params, **step}
                if not self._may_try(name, f"{name} {format_params(params)}") or not self._try(runner, name, params):
                    break
                improved |= step.keys()

    def try_weighting(
        self, weighting: PlayWeighting, interactions_with: Callable[[PlayWeighting], Interactions]
    ) -> None:
        if not self._best:
            return
        name, best = next(iter(self._ranked().items()))
        if self._may_try(name, f"{name} {weighting}"):
            with self._trial_runner(interactions_with(weighting)) as runner:
                self._try(runner, name, best.params, weighting)

    def result(self) -> ModelSearchResult:
        if not self._best:
            reasons = "; ".join(f"{name} {reason}" for name, reason in self._failures.items())
            raise ModelError(f"every model failed: {reasons or 'no candidates were given'}")
        failed_models = {name: reason for name, reason in self._failures.items() if name not in self._best}
        search = self._search
        return ModelSearchResult(
            self._holdout,
            self._selecting,
            search.k,
            self._ranked(),
            failed_models,
            self._tried,
            self._failed,
            self._skipped,
        )

    def _ranked(self) -> dict[str, ScoredTrial]:
        """The best trial of each model, best first; the order of the candidates breaks ties."""
        order = [name for name in self._candidates if name in self._best]
        return {name: self._best[name] for name in sorted(order, key=lambda name: -self._best[name].ndcg)}

    def _may_try(self, name: str, description: str) -> bool:
        """Whether the budget allows another trial of the model. Records a skipped setting."""
        remaining = self._until - time.monotonic()
        if remaining >= self._seconds[name]:
            return True
        self._skipped.append(f"{description}: no time left")
        return False

    def _try(self, runner: TrialRunner, name: str, params: Params, weighting: PlayWeighting | None = None) -> bool:
        """Run one trial, and return whether it is the best of its model so far."""
        search = self._search
        weighting = search.weighting if weighting is None else weighting
        parts = [name, format_params(params), str(weighting) if weighting != AS_PLAYED else ""]
        description = " ".join(filter(None, parts))
        begin = time.monotonic()
        try:
            trial = runner.run(self._candidates[name].model_class, params, search.limits)
        except ModelError as error:
            self._failures.setdefault(name, str(error))
            self._failed.append(f"{description}: {error}")
            search.log_progress(f"{description}: failed, {error}")
            return False
        finally:
            self._seconds[name] = time.monotonic() - begin
        measures = measure_ranking(trial.ranking, self._holdout, self._train, search.k)
        ndcg = float(measures.ndcg[self._selecting].mean())
        result = ScoredTrial(
            name, params, measures, ndcg, trial.fit_seconds, trial.score_seconds, trial.peak_memory_mb, weighting
        )
        self._tried.append(result)
        search.log_progress(
            f"{description}: ndcg {ndcg:.4f}, recall {measures.mean_recall:.4f}, {trial.fit_seconds:.1f} s"
        )
        better = name not in self._best or ndcg > self._best[name].ndcg
        if better:
            self._best[name] = result
        return better

    def _trial_runner(self, interactions: Interactions) -> AbstractContextManager[TrialRunner]:
        n = min(self._search.k, len(self._train.track_ids))
        return TrialRunner.prepare(interactions, self._holdout.users, n, exclude=self._train)


def format_params(params: Params) -> str:
    """Format settings on one line, such as `als_weight=0.3 als.factors=64`."""
    texts = []
    for name, value in params.items():
        if isinstance(value, Mapping):
            texts += [f"{name}.{key}={setting}" for key, setting in value.items()]
        else:
            texts.append(f"{name}={value}")
    return " ".join(texts)
