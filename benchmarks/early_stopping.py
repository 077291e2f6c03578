"""Compare the decisions of model searches that stop trials early with those that score all users.

`.venv/bin/python -m benchmarks.early_stopping` takes about ten minutes for 50 worlds.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from compute.blocks import BlockRunner
from core.errors import ModelError
from recommender.data.interactions import ARTIST, GENRE
from recommender.data.play_log import WEIGHTINGS_TO_TRY, PlayLog
from recommender.evaluation.model_search import ModelSearchSettings, search_models
from recommender.evaluation.splitting import split_last_plays
from recommender.evaluation.trial_process import rank_until_stopped
from recommender.evaluation.trials import (
    EvaluatedInputs,
    FailedTrial,
    MeasuredOutcome,
    MeasuredTrial,
    StoppedTrial,
    TrialTask,
)

_USERS, _TRACKS, _ARTISTS = 3_000, 300, 40
_FIRST_DAY = np.datetime64("2026-01-01", "s")


class CountingRunner(BlockRunner):
    """Runs trials in this process, and counts the lists that they score."""

    def __init__(self) -> None:
        self.lists = self.stopped = 0

    def run(self, job: Any, state: Any, blocks: Sequence[Any]) -> Iterator[tuple[int, Any]]:
        """See BlockRunner."""
        for number, task in enumerate(blocks):
            yield number, self._trial(state, task)

    def _trial(self, inputs: EvaluatedInputs, task: TrialTask) -> MeasuredOutcome:
        trial = inputs.inputs
        try:
            model = task.model_class(**task.params).fit(trial.interactions)
        except ModelError as error:
            return FailedTrial(str(error))
        recommend = model.recommend

        def counted(users: Any, n: int, exclude: Any = None) -> Any:
            self.lists += len(users)
            return recommend(users, n, exclude)

        model.recommend = counted  # type: ignore[method-assign,assignment]
        ranking = rank_until_stopped(model, trial.users, trial.n, trial.exclude, task.stop_rule)
        if isinstance(ranking, str):
            self.stopped += 1
            return StoppedTrial(ranking)
        return MeasuredTrial(task.model_class.name, task.params, inputs.evaluation.measure(ranking), 0, 0, 0)


def search(log: PlayLog, seed: int, stops_early: bool) -> tuple[str, CountingRunner]:
    """Search the best model. Returns its name with its settings, and the counts."""
    runner = CountingRunner()
    split, split_at = split_last_plays(log)
    chosen = search_models(
        split.train,
        split.holdout,
        search=ModelSearchSettings(seed=seed, selection_share=0.5, blocks=runner, stops_early=stops_early),
        weightings=WEIGHTINGS_TO_TRY,
        interactions_with=lambda weighting: log.interactions(split_at, weighting),
    ).chosen
    return f"{chosen.model} {dict(chosen.params)} {chosen.weighting}", runner


def _play_log(seed: int, plays_per_user: float) -> PlayLog:
    """Plays of users who each like a few of 40 artists. In worlds with an even seed, the models know the artists."""
    random = np.random.default_rng(seed)
    artist, popularity = random.integers(0, _ARTISTS, _TRACKS), random.pareto(1.2, _TRACKS) + 0.1
    tastes = random.dirichlet(np.full(_ARTISTS, 0.15), _USERS) + 0.2 / _ARTISTS
    users = np.repeat(np.arange(_USERS), random.poisson(plays_per_user, _USERS))
    tracks = np.concatenate(
        [
            random.choice(_TRACKS, count, p=chances / chances.sum())
            for count, taste in zip(np.bincount(users, minlength=_USERS), tastes, strict=True)
            for chances in [taste[artist] * popularity]
        ]
    )
    times = _FIRST_DAY + random.integers(0, 300 * 86_400, len(users)).astype("timedelta64[s]")
    attributes = {ARTIST: artist.astype(np.int32), GENRE: (artist % 8).astype(np.int32)} if seed % 2 == 0 else {}
    return PlayLog(
        users,
        tracks,
        np.ones(len(users), np.float32),
        times,
        catalogue=np.arange(_TRACKS),
        item_attributes=attributes,
    )


def main() -> None:
    """Print one line for each world, and the share of equal decisions."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--worlds", type=int, default=50, help="number of worlds (default: %(default)s)")
    worlds = parser.parse_args().worlds
    equal = lists = all_lists = 0
    for seed in range(worlds):
        # Plays per user and artists differ, so that different models win.
        log = _play_log(seed, plays_per_user=10 + 50 * (seed % 5) / 4)
        expected, complete = search(log, seed, stops_early=False)
        winner, stopping = search(log, seed, stops_early=True)
        result = "same" if winner == expected else f"not {expected}"
        print(f"{seed:3d} {winner}: {result}, {stopping.stopped} trials stopped", flush=True)
        equal, lists, all_lists = equal + (winner == expected), lists + stopping.lists, all_lists + complete.lists
    print(f"{equal} of {worlds} decisions are equal; {lists / all_lists:.0%} of the lists were scored")


if __name__ == "__main__":
    main()
