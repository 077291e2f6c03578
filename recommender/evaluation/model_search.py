"""Model search: try every candidate on the same holdout, and choose the highest mean NDCG.

The search is reproducible: a number of trials limits it. Seconds, of the search and of a trial, are only safety limits,
and the result says whether one was reached.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from itertools import compress, product

import numpy as np
from numpy.typing import NDArray

from compute.blocks import IN_PROCESS, BlockRunner
from core.errors import InteractionsError, ModelError
from recommender.data.interactions import Interactions
from recommender.data.play_log import AS_PLAYED, PlayWeighting
from recommender.evaluation.early_stop import StopRule
from recommender.evaluation.metrics import RankingMetrics
from recommender.evaluation.splitting import Holdout
from recommender.evaluation.trials import (
    FailedTrial,
    HoldoutEvaluation,
    MeasuredOutcome,
    StoppedTrial,
    TrialLimits,
    TrialRunner,
    TrialTask,
)
from recommender.models.base import Params
from recommender.models.popularity import Popularity
from recommender.models.registry import CANDIDATES, Candidate, Candidates

# Further settings are tried for this many models: those with the best first setting.
MODELS_TUNED = 3
# 41,000 tracks: 9,756 users, whose mean NDCG has a standard error of about 0.001.
_SCORES_PER_TRIAL, _MIN_EVALUATED_USERS = 400_000_000, 2_000


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
    `skipped` describe the other settings. If `seconds_limit_reached`, by the search or a trial, another run may differ.
    """

    holdout: Holdout
    selecting: NDArray[np.bool_]
    k: int
    results: Mapping[str, ScoredTrial]
    failed_models: Mapping[str, str]
    tried: Sequence[ScoredTrial]
    failed: Sequence[str]
    skipped: Sequence[str]
    seconds_limit_reached: bool = False

    @property
    def chosen(self) -> ScoredTrial:
        """The trial with the highest mean NDCG; the earlier model in the registry wins a tie."""
        return next(iter(self.results.values()))


@dataclass(frozen=True)
class ModelSearchSettings:
    """Settings of a model search. A random share of the evaluated users, `selection_share`, chooses the model.

    After `trials` trials, only the first setting of a model is tried. The same holds after `seconds`, the safety limit;
    a running trial may take up to `limits.seconds` longer. `weighting` is the weighting of the training plays.
    `diversity` is the strength of the re-ranking of all lists. `blocks` runs the trials. With `stops_early`, a blend or
    a further setting that can no longer win is not scored for all users, unless lists are re-ranked.
    """

    k: int = 20
    seed: int = 0
    limits: TrialLimits = field(default_factory=TrialLimits)
    trials: int = 40
    seconds: float = 3_600.0
    selection_share: float = 1.0
    weighting: PlayWeighting = AS_PLAYED
    diversity: float = 0.0
    log_progress: Callable[[str], None] = lambda line: None
    blocks: BlockRunner = IN_PROCESS
    stops_early: bool = False


def evaluated_users(tracks: int) -> int:
    """The number of users to evaluate with a catalogue of this size: as many as a trial scores in about ten seconds."""
    return max(_MIN_EVALUATED_USERS, _SCORES_PER_TRIAL // max(tracks, 1))


def search_models(
    train: Interactions,
    holdout: Holdout,
    candidates: Candidates = CANDIDATES,
    search: ModelSearchSettings | None = None,
    *,
    weightings: Sequence[PlayWeighting] = (),
    interactions_with: Callable[[PlayWeighting], Interactions] | None = None,
) -> ModelSearchResult:
    """Try every candidate, and choose the best.

    The search is deterministic unless it or a trial reaches its limit of seconds.

    The first setting of each model is always tried. Within the limits, the search also tries further settings of the
    best models, of a leading blend, and `weightings` for the winner. A further setting replaces the best one only if
    the mean difference in NDCG is above its standard error. `interactions_with` returns train with a weighting. Raises
    InteractionsError when train or the holdout is empty, ModelError when every model failed.
    """
    search = search or ModelSearchSettings()
    if not len(train):
        raise InteractionsError("there are no plays to learn from")
    if not len(holdout):
        raise InteractionsError("no user has both training plays and held-out plays")
    users = evaluated_users(len(train.track_ids))
    search_run = _ModelSearch(train, holdout.sample(users, search.seed), candidates, search)
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
        self._order = order[: max(1, round(search.selection_share * user_count))]
        self._selecting[self._order] = True
        self._names_of_members = {name for candidate in candidates.values() for name in candidate.members.values()}
        self._until = time.monotonic() + search.seconds
        self._trials_run = 0
        self._seconds_limit_reached = self._is_over_seconds = False
        self._best: dict[str, ScoredTrial] = {}
        self._tried: list[ScoredTrial] = []
        self._failures: dict[str, str] = {}
        self._stopped: set[str] = set()
        self._failed: list[str] = []
        self._skipped: list[str] = []

    def run(self) -> None:
        single = [name for name, candidate in self._candidates.items() if not candidate.members]
        blends = [name for name in self._candidates if name not in single]
        with self._trial_runner(self._train) as runner:
            self._try_first_settings(runner, single)
            tunable = [name for name in self._ranked() if self._candidates[name].directions]
            self._try_directions(runner, tunable[:MODELS_TUNED])
            self._try_first_settings(runner, blends)
            self._try_directions(runner, self._best_blend(blends))

    def _try_first_settings(self, runner: TrialRunner, names: Sequence[str]) -> None:
        starts: dict[str, list[Params]] = {}
        for name in names:
            candidate = self._candidates[name]
            failed = [name for name in candidate.members.values() if name in self._failures and name not in self._best]
            if failed:
                self._failures[name] = f"has the member {failed[0]}, which failed"
                continue
            if useless := [member for member in candidate.members.values() if self._has_useless_attributes(member)]:
                self._failures[name] = f"has the member {useless[0]}, which is not better than popularity"
                continue
            starts[name] = starts_of(candidate, {model: trial.params for model, trial in self._best.items()})
        self._trials_run += len(starts)
        self._try_all(runner, {name: params[0] for name, params in starts.items()})
        for number in range(1, max(map(len, starts.values()), default=0)):
            next_params = {name: params[number] for name, params in starts.items() if len(params) > number}
            self._try_all(
                runner,
                {
                    name: params
                    for name, params in next_params.items()
                    if (name in self._best or name in self._stopped)
                    and self._may_try(f"{name} {format_params(params)}")
                },
            )

    def _best_blend(self, blends: Sequence[str]) -> list[str]:
        """The best blend, unless another model is better by more than one standard error."""
        ranked = self._ranked()
        best = [name for name in ranked if name in blends][:1]
        leader = next(iter(ranked), "")
        return [name for name in best if not self._is_better(ranked[leader].measures, ranked[name].measures)]

    def _has_useless_attributes(self, name: str) -> bool:
        """Whether a model with item attributes is not better than popularity: they say nothing about plays."""
        if name not in self._best or Popularity.name not in self._best:
            return False
        if not self._candidates[name].model_class.uses_item_attributes:
            return False
        return not self._is_better(self._best[name].measures, self._best[Popularity.name].measures)

    def _try_directions(self, runner: TrialRunner, names: Sequence[str]) -> None:
        """Follow the directions of several models. The next trials of all of them may run at once."""
        searches = {name: self._directions(name) for name in names}
        steps = {name: next(search, None) for name, search in searches.items()}
        while attempts := {name: params for name, params in steps.items() if params is not None}:
            better = self._try_all(runner, attempts)
            steps = {name: _send(searches[name], better[name]) for name in attempts}

    def _directions(self, name: str) -> Generator[Params, bool, None]:
        """Yield the settings to try; receives whether they were better than the best so far."""
        improved: set[str] = set()
        for direction in self._candidates[name].directions:
            if direction[0].keys() <= improved:
                continue  # earlier directions already improved these parameters
            for step in direction:
                params = with_step(self._best[name].params, step)
                if params == self._best[name].params:
                    continue
                if not self._may_try(f"{name} {format_params(params)}") or not (yield params):
                    break
                improved |= step.keys()

    def try_weighting(
        self, weighting: PlayWeighting, interactions_with: Callable[[PlayWeighting], Interactions]
    ) -> None:
        if not self._best:
            return
        name, best = next(iter(self._ranked().items()))
        if self._may_try(f"{name} {weighting}"):
            with self._trial_runner(interactions_with(weighting)) as runner:
                self._try_all(runner, {name: best.params}, weighting)

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
            self._seconds_limit_reached,
        )

    def _ranked(self) -> dict[str, ScoredTrial]:
        """The best trial of each model, best first; the order of the candidates breaks ties."""
        order = [name for name in self._candidates if name in self._best]
        return {name: self._best[name] for name in sorted(order, key=lambda name: -self._best[name].ndcg)}

    def _may_try(self, description: str) -> bool:
        """Whether the limits allow another trial. Records a skipped setting."""
        is_over_seconds = time.monotonic() > self._until
        if not is_over_seconds and self._trials_run < self._search.trials:
            self._trials_run += 1
            return True
        if is_over_seconds and not self._is_over_seconds:
            self._seconds_limit_reached = self._is_over_seconds = True
            self._search.log_progress(
                f"the search reached its limit of {self._search.seconds:g} s: another run may try other settings"
            )
        limit = f"{self._search.seconds:g} seconds" if is_over_seconds else f"{self._search.trials} trials"
        self._skipped.append(f"{description}: the limit of {limit} was reached")
        return False

    def _try_all(
        self, runner: TrialRunner, attempts: Mapping[str, Params], weighting: PlayWeighting | None = None
    ) -> dict[str, bool]:
        """Run a trial of each model, and return whether it is the best of its model so far.

        Results are recorded in the order of `attempts`, whatever the order in which trials end.
        """
        search = self._search
        weighting = search.weighting if weighting is None else weighting
        tasks = [
            TrialTask(
                self._candidates[name].model_class,
                params,
                search.limits,
                is_member=name in self._names_of_members,
                stop_rule=self._stop_rule(name),
            )
            for name, params in attempts.items()
        ]
        names = list(attempts)
        outcomes: dict[int, ScoredTrial | StoppedTrial | str] = {}
        for number, trial in runner.run_all(tasks):
            name = names[number]
            outcomes[number] = self._scored(name, trial, attempts[name], weighting)
        return {names[number]: self._record(names[number], outcomes[number]) for number in sorted(outcomes)}

    def _stop_rule(self, name: str) -> StopRule | None:
        """Compare a further setting with the best one of its model, and the first one of a blend with all models.

        The first setting of another model is never stopped: a weak model may be a good member of a blend.
        """
        if not self._search.stops_early or self._search.diversity:
            return None
        best = self._best.get(name)
        if best is None and self._candidates[name].members:
            best = next(iter(self._ranked().values()), None)
        return StopRule(self._holdout, self._order, best.measures.ndcg, self._search.k) if best else None

    def _scored(
        self, name: str, trial: MeasuredOutcome, params: Params, weighting: PlayWeighting
    ) -> ScoredTrial | StoppedTrial | str:
        """The result of a trial. Returns the description and the reason of a failed or stopped one."""
        search = self._search
        parts = [name, format_params(params), str(weighting) if weighting != AS_PLAYED else ""]
        description = " ".join(filter(None, parts))
        if isinstance(trial, FailedTrial):
            self._failures.setdefault(name, trial.reason)
            self._seconds_limit_reached |= trial.over_time
            search.log_progress(f"{description}: failed, {trial.reason}")
            return f"{description}: {trial.reason}"
        if isinstance(trial, StoppedTrial):
            search.log_progress(f"{description}: {trial.reason}")
            self._failures.setdefault(name, trial.reason)
            return StoppedTrial(f"{description}: {trial.reason}")
        measures = trial.measures
        ndcg = float(measures.ndcg[self._selecting].mean())
        result = ScoredTrial(
            name, params, measures, ndcg, trial.fit_seconds, trial.score_seconds, trial.peak_memory_mb, weighting
        )
        search.log_progress(
            f"{description}: ndcg {ndcg:.4f}, recall {measures.mean_recall:.4f}, {trial.fit_seconds:.1f} s"
        )
        return result

    def _record(self, name: str, outcome: ScoredTrial | StoppedTrial | str) -> bool:
        """Record an outcome, and return whether it is the best of its model so far."""
        if isinstance(outcome, StoppedTrial):
            self._stopped.add(name)
            self._skipped.append(outcome.reason)
            return False
        if isinstance(outcome, str):
            self._failed.append(outcome)
            return False
        self._tried.append(outcome)
        better = name not in self._best or self._is_better(outcome.measures, self._best[name].measures)
        if better:
            self._best[name] = outcome
        return better

    def _is_better(self, measures: RankingMetrics, best: RankingMetrics) -> bool:
        """Whether the mean difference in NDCG of the selecting users is above its standard error."""
        differences = (measures.ndcg - best.ndcg)[self._selecting]
        spread = differences.std(ddof=1) if len(differences) > 1 else 0.0
        return bool(differences.mean() > spread / np.sqrt(len(differences)))

    def _trial_runner(self, interactions: Interactions) -> AbstractContextManager[TrialRunner]:
        search = self._search
        evaluation = HoldoutEvaluation(self._holdout, self._train, search.k, search.diversity, search.seed)
        return TrialRunner.prepare(interactions, evaluation, search.blocks)


def _send(search: Generator[Params, bool, None], better: bool) -> Params | None:
    """The next settings; None at the end."""
    try:
        return search.send(better)
    except StopIteration:
        return None


def starts_of(candidate: Candidate, best: Mapping[str, Params]) -> list[Params]:
    """The settings to start from: each member of a blend has the settings that the candidate has for it, or its best.

    The first start has all settings of the candidate, so others replace them only beyond one standard error. `best` has
    the best settings of each model.
    """
    members = {parameter: best[model] for parameter, model in candidate.members.items() if model in best}
    own = {name: params for name, params in candidate.settings.items() if name in members}
    starts: list[Params] = []
    for chosen in product((True, False), repeat=len(own)):
        params = with_step({**candidate.settings, **members}, {name: own[name] for name in compress(own, chosen)})
        if params not in starts:
            starts.append(params)
    return starts


def with_step(params: Params, step: Params) -> Params:
    """Replace settings. A step of a member's settings, which are a mapping, replaces only the named settings."""
    merged = {
        name: {**params[name], **value} if isinstance(value, Mapping) and name in params else value
        for name, value in step.items()
    }
    return {**params, **merged}


def format_params(params: Params) -> str:
    """Format settings on one line, such as `als_weight=0.3 als.factors=64`."""
    texts = []
    for name, value in params.items():
        if isinstance(value, Mapping):
            texts += [f"{name}.{key}={setting}" for key, setting in value.items()]
        else:
            texts.append(f"{name}={value}")
    return " ".join(texts)
