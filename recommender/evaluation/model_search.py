"""Choosing a model: every candidate is tried on the same held-out plays, and the best mean NDCG wins."""

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

# Other settings are tried for so many models, of those that have any: the ones that did best with their first.
MODELS_TUNED = 3


@dataclass(frozen=True, eq=False)
class ScoredTrial:
    """One model with one setting, measured on users of `ModelSearchResult.holdout`, in their order.

    `ndcg` is the mean over those who decide: what models are chosen by.
    """

    model: str
    params: Params
    measures: RankingMetrics
    ndcg: float
    fit_seconds: float
    score_seconds: float
    peak_memory_mb: float
    options: PlayWeighting = AS_PLAYED


@dataclass(frozen=True, eq=False)
class ModelSearchResult:
    """Who won on whom.

    `deciding` are the users of `holdout` whose results decided; a gate asks the others, who have not seen the luck
    of the best. `results` has the best setting of each model that was measured, best first; `out` says why a model has
    none.
    `tried` is every trial that was measured, `failed` and `skipped` say which settings were not, and why.
    """

    holdout: Holdout
    deciding: NDArray[np.bool_]
    k: int
    results: Mapping[str, ScoredTrial]
    out: Mapping[str, str]
    tried: Sequence[ScoredTrial]
    failed: Sequence[str]
    skipped: Sequence[str]

    @property
    def chosen(self) -> ScoredTrial:
        """The one with the highest mean NDCG; of equal ones, the earlier in the registry."""
        return next(iter(self.results.values()))


@dataclass(frozen=True)
class ModelSearchSettings:
    """How a model is looked for. Trials that have begun may go on for `limits.seconds` after the budget is spent.

    At most so many `users` are asked, and the `deciding_share` of them, drawn by the seed, decides. `weighed` is
    how the plays are weighed that the models learn from.
    """

    k: int = 20
    seed: int = 0
    limits: TrialLimits = field(default_factory=TrialLimits)
    budget_seconds: float = 240.0
    users: int = 5_000
    deciding_share: float = 1.0
    weighed: PlayWeighting = AS_PLAYED
    say: Callable[[str], None] = lambda line: None


def search_models(
    train: Interactions,
    holdout: Holdout,
    candidates: Candidates = CANDIDATES,
    search: ModelSearchSettings | None = None,
    *,
    options: Sequence[PlayWeighting] = (),
    interactions_with: Callable[[PlayWeighting], Interactions] | None = None,
) -> ModelSearchResult:
    """Try every candidate, and choose. The same input gives the same choice, unless the budget runs out.

    The first setting of each model is always tried. While the budget lasts, so are other settings of the best few, of
    a blend that leads, and `options` for the one that won; `interactions_with` gives train with an option.
    Raises InteractionsError when there is nothing to learn or to ask, ModelError when no model is left.
    """
    search = search or ModelSearchSettings()
    if not len(train):
        raise InteractionsError("there are no plays to learn from")
    if not len(holdout):
        raise InteractionsError("no user has both plays to learn from and others to be asked for")
    search_run = _ModelSearch(train, holdout.sample(search.users, search.seed), candidates, search)
    search_run.run()
    if interactions_with is not None:
        for option in options:
            search_run.try_option(option, interactions_with)
    return search_run.selection()


class _ModelSearch:
    """The trials of one choice, and what came of them."""

    def __init__(
        self, train: Interactions, holdout: Holdout, candidates: Candidates, search: ModelSearchSettings
    ) -> None:
        self._train, self._holdout, self._candidates, self._search = train, holdout, candidates, search
        user_count = len(holdout)
        order = np.random.default_rng(search.seed).permutation(user_count)
        self._deciding = np.zeros(user_count, bool)
        self._deciding[order[: max(1, round(search.deciding_share * user_count))]] = True
        self._until = time.monotonic() + search.budget_seconds
        self._best: dict[str, ScoredTrial] = {}
        self._seconds: dict[str, float] = {}  # how long the last trial of each model took
        self._tried: list[ScoredTrial] = []
        self._why: dict[str, str] = {}
        self._failed: list[str] = []
        self._skipped: list[str] = []

    def run(self) -> None:
        single = [name for name, candidate in self._candidates.items() if not candidate.members]
        blends = [name for name in self._candidates if name not in single]
        with self._ground(self._train) as ground:
            self._try_first_settings(ground, single)
            for name in [name for name in self._ranked() if self._candidates[name].directions][:MODELS_TUNED]:
                self._look_on(ground, name)
            self._try_first_settings(ground, blends)
            for name in [name for name in list(self._ranked())[:1] if name in blends]:
                self._look_on(ground, name)

    def _try_first_settings(self, ground: TrialRunner, names: Sequence[str]) -> None:
        for name in names:
            candidate = self._candidates[name]
            lost = [member for member in candidate.members.values() if member in self._why and member not in self._best]
            if lost:
                self._why[name] = f"is made of {lost[0]}, which is out"
                continue
            members = {
                parameter: self._best[member].params
                for parameter, member in candidate.members.items()
                if member in self._best
            }
            self._try(ground, name, {**candidate.settings, **members})

    def _look_on(self, ground: TrialRunner, name: str) -> None:
        bettered: set[str] = set()
        for direction in self._candidates[name].directions:
            if bettered & direction[0].keys():
                continue  # it got better one way, so the other way is not tried
            for step in direction:
                params = {**self._best[name].params, **step}
                if not self._may_try(name, f"{name} {format_params(params)}") or not self._try(ground, name, params):
                    break
                bettered |= step.keys()

    def try_option(self, option: PlayWeighting, interactions_with: Callable[[PlayWeighting], Interactions]) -> None:
        if not self._best:
            return
        name, best = next(iter(self._ranked().items()))
        if self._may_try(name, f"{name} {option}"):
            with self._ground(interactions_with(option)) as ground:
                self._try(ground, name, best.params, option)

    def selection(self) -> ModelSearchResult:
        if not self._best:
            reasons = "; ".join(f"{name} {why}" for name, why in self._why.items())
            raise ModelError(f"no model is left to choose: {reasons or 'no candidates were given'}")
        out = {name: why for name, why in self._why.items() if name not in self._best}
        search = self._search
        return ModelSearchResult(
            self._holdout, self._deciding, search.k, self._ranked(), out, self._tried, self._failed, self._skipped
        )

    def _ranked(self) -> dict[str, ScoredTrial]:
        """Best first; the order of the candidates decides between equal ones."""
        order = [name for name in self._candidates if name in self._best]
        return {name: self._best[name] for name in sorted(order, key=lambda name: -self._best[name].ndcg)}

    def _may_try(self, name: str, what: str) -> bool:
        """Whether the budget lasts for another trial of the model. Notes what is skipped."""
        left = self._until - time.monotonic()
        if left >= self._seconds[name]:
            return True
        self._skipped.append(f"{what}: no time left")
        return False

    def _try(self, ground: TrialRunner, name: str, params: Params, option: PlayWeighting | None = None) -> bool:
        """Whether that is the best of the model so far."""
        search = self._search
        option = search.weighed if option is None else option
        what = " ".join(filter(None, [name, format_params(params), str(option) if option != AS_PLAYED else ""]))
        begin = time.monotonic()
        try:
            trial = ground.run(self._candidates[name].make, params, search.limits)
        except ModelError as error:
            self._why.setdefault(name, str(error))
            self._failed.append(f"{what}: {error}")
            search.say(f"{what}: out, {error}")
            return False
        finally:
            self._seconds[name] = time.monotonic() - begin
        measures = measure_ranking(trial.ranking, self._holdout, self._train, search.k)
        ndcg = float(measures.ndcg[self._deciding].mean())
        result = ScoredTrial(
            name, params, measures, ndcg, trial.fit_seconds, trial.score_seconds, trial.peak_memory_mb, option
        )
        self._tried.append(result)
        search.say(f"{what}: ndcg {ndcg:.4f}, recall {measures.mean_recall:.4f}, {trial.fit_seconds:.1f} s")
        better = name not in self._best or ndcg > self._best[name].ndcg
        if better:
            self._best[name] = result
        return better

    def _ground(self, interactions: Interactions) -> AbstractContextManager[TrialRunner]:
        n = min(self._search.k, len(self._train.track_ids))
        return TrialRunner.of(interactions, self._holdout.users, n, exclude=self._train)


def format_params(params: Params) -> str:
    """Settings on one line, such as `als_weight=0.3 als.factors=64`."""
    texts = []
    for name, value in params.items():
        if isinstance(value, Mapping):
            texts += [f"{name}.{inner}={what}" for inner, what in value.items()]
        else:
            texts.append(f"{name}={value}")
    return " ".join(texts)
