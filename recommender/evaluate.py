"""Evaluate every model on held-out plays. The model and its settings are chosen on the training plays alone.

Exit 0: evaluated; 1: no user can be evaluated, or every model failed; 2: a wrong argument, or an unusable file.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path

import numpy as np
from rich.console import Console

from core.errors import InteractionsError, ModelError, MoovitamixError, UsageError
from core.exit_codes import returns_exit_code, run_main
from recommender.data.interaction_files import (
    TIME,
    add_item_attributes,
    read_interactions,
    read_item_attributes,
    read_play_log,
)
from recommender.data.interactions import Interactions
from recommender.data.play_log import AS_PLAYED, WEIGHTINGS_TO_TRY, PlayLog, PlayWeighting
from recommender.evaluation.evaluation_report import EvaluationReport
from recommender.evaluation.model_search import ModelSearchResult, ModelSearchSettings, evaluated_users, search_models
from recommender.evaluation.splitting import DataSplit, Holdout, split_by_user, split_last_plays
from recommender.evaluation.trials import (
    HoldoutEvaluation,
    MeasuredTrial,
    TrialLimits,
    TrialRunner,
    TrialTask,
)
from recommender.models.registry import CANDIDATES, Candidates

_FILE_WIDTH = 140
_MIN_USERS_BY_TIME = 100  # with fewer users after a split time, a random split is more reliable


class EmptyHoldout(InteractionsError):
    """The plays are readable, but no user has both training plays and held-out plays."""


def evaluate(
    train: Interactions | PlayLog,
    test: Interactions,
    candidates: Candidates = CANDIDATES,
    search: ModelSearchSettings | None = None,
) -> EvaluationReport:
    """Choose the model and its settings on a split of `train`; then fit all models on `train`, and measure on `test`.

    A play log is split by time, plays without times at random. Raises InteractionsError when `train` has no plays,
    EmptyHoldout when no user can be evaluated, ModelError when every model failed.
    """
    search = search or ModelSearchSettings()
    plays = all_plays(train)
    if not len(plays):
        raise InteractionsError("train has no plays to learn from")
    holdout = Holdout.from_interactions(test, plays)
    if not len(holdout):
        raise EmptyHoldout(
            f"no user of test can be evaluated: {holdout.left_out:,} are not in train, "
            f"and {holdout.repeaters:,} played only tracks that train has too"
        )
    selection, split = _search(train, candidates, search)
    search.log_progress(
        f"model search on {len(selection.holdout):,} users of train, {split}, chose {selection.chosen.model}"
    )
    return _measure_on(train, holdout, selection, split, candidates, search)


def all_plays(train: Interactions | PlayLog, weighting: PlayWeighting = AS_PLAYED) -> Interactions:
    """All training plays; plays without times cannot be weighted."""
    if isinstance(train, Interactions):
        return train
    end = np.append(train.played_at, np.datetime64(0, "us")).max() + np.timedelta64(1, "s")
    return train.interactions(end, weighting)


def split_for_search(train: Interactions | PlayLog, seed: int) -> tuple[DataSplit, np.datetime64 | None]:
    """Split the training plays for the model search: by time if possible, else at random. Also returns the time.

    Raises EmptyHoldout when no user played two or more tracks.
    """
    if isinstance(train, PlayLog):
        split, split_at = split_last_plays(train)
        if len(split.holdout) >= _MIN_USERS_BY_TIME:
            return split, split_at
    plays = all_plays(train)
    split = split_by_user(plays, seed=seed, users=evaluated_users(len(plays.track_ids)))
    if not len(split.holdout):
        raise EmptyHoldout("train cannot be split for the model search: no user played two or more tracks")
    return split, None


def _search(
    train: Interactions | PlayLog, candidates: Candidates, search: ModelSearchSettings
) -> tuple[ModelSearchResult, str]:
    """Search the model on a split of the training plays. Also returns a description of the split."""
    split, split_at = split_for_search(train, search.seed)
    if split_at is None or isinstance(train, Interactions):
        return search_models(split.train, split.holdout, candidates, search), "split at random"
    selection = search_models(
        split.train,
        split.holdout,
        candidates,
        search,
        weightings=WEIGHTINGS_TO_TRY,
        interactions_with=lambda weighting: train.interactions(split_at, weighting),
    )
    return selection, f"split by time at {split_at.astype('datetime64[s]')}"


def _measure_on(
    train: Interactions | PlayLog,
    holdout: Holdout,
    selection: ModelSearchResult,
    split: str,
    candidates: Candidates,
    search: ModelSearchSettings,
) -> EvaluationReport:
    trials: dict[str, MeasuredTrial] = {}
    failed_models = dict(selection.failed_models)
    plays = all_plays(train)
    evaluation = HoldoutEvaluation(holdout, plays, search.k, search.diversity, search.seed)
    for weighting, group in groupby(selection.results, key=lambda name: selection.results[name].weighting):
        weighted = plays if weighting == AS_PLAYED else all_plays(train, weighting)
        names = list(group)
        search.log_progress(f"measuring {', '.join(names)}")
        tasks = [
            TrialTask(candidates[name].model_class, selection.results[name].params, search.limits) for name in names
        ]
        with TrialRunner.prepare(weighted, evaluation, search.blocks) as runner:
            outcomes = dict(runner.run_all(tasks))
        for number, name in enumerate(names):
            trial = outcomes[number]
            if not isinstance(trial, MeasuredTrial):
                failed_models[name] = trial.reason
                search.log_progress(f"{name}: failed, {trial.reason}")
            else:
                trials[name] = trial
    if not trials:
        reasons = "; ".join(f"{name} {reason}" for name, reason in failed_models.items())
        raise ModelError(f"every model failed: {reasons}")
    return EvaluationReport(selection, split, holdout, trials, failed_models)


def read_train(path: Path, time_column: str | None, tracks: Path | None) -> Interactions | PlayLog:
    """Read the training plays with their times, if the file has them, and with item attributes."""
    log = read_play_log(path, time_column or TIME)
    if log is None and time_column is not None:
        raise InteractionsError(f"{path}: no column {time_column}; correct --time-column")
    if log is not None:
        if tracks is None:
            return log
        catalogue, item_attributes = read_item_attributes(tracks)
        return replace(log, catalogue=catalogue, item_attributes=item_attributes)
    plays = read_interactions(path)
    return plays if tracks is None else add_item_attributes(plays, tracks)


@returns_exit_code
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return its exit code."""
    options = _read_options(arguments)
    candidates = {name: CANDIDATES[name] for name in CANDIDATES if not options.model or name in options.model}
    limits = TrialLimits(options.time_limit, options.memory_mb)
    search = ModelSearchSettings(
        options.k,
        options.seed,
        limits,
        options.trials,
        options.budget,
        diversity=options.diversity,
        log_progress=lambda line: print(line, file=sys.stderr, flush=True),
    )
    try:
        train = read_train(options.train, options.time_column, options.tracks)
        report = evaluate(train, read_interactions(options.test), candidates, search)
    except EmptyHoldout:
        raise
    except InteractionsError as error:
        raise UsageError(str(error)) from error
    except OSError as error:
        path = f" ({error.filename})" if error.filename else ""
        message = f"cannot write temporary files: {error.strerror or error}{path}; check TMPDIR"
        raise MoovitamixError(message) from error
    if options.json:
        print(json.dumps(report.as_json(), indent=2, allow_nan=False))
    else:
        _show(report)
    return 0


def _show(report: EvaluationReport) -> None:
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = _FILE_WIDTH
    console.print(report.as_table())
    for name, reason in report.failed_models.items():
        console.print(f"excluded: {name}, {reason}", markup=False)
    if report.selection.seconds_limit_reached:
        console.print("the model search or a trial reached its limit of seconds, so another run may differ")
    holdout = report.holdout
    console.print(f"{len(holdout):,} users evaluated; {holdout.left_out:,} users of test are not in train")


def _read_options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m recommender.evaluate", description=__doc__)
    files = "Parquet or CSV with the columns user_id, track_id and optionally plays and, for train, played_at"
    parser.add_argument("--train", type=Path, required=True, metavar="FILE", help=f"training plays: {files}")
    parser.add_argument("--test", type=Path, required=True, metavar="FILE", help="held-out plays, in the same format")
    parser.add_argument(
        "--tracks",
        type=Path,
        metavar="FILE",
        help="item attributes for the models that use them: columns track_id and artist, genres or both",
    )
    parser.add_argument(
        "--time-column",
        metavar="NAME",
        help="column of train with times of plays, to split train by time (default: played_at, if any)",
    )
    parser.add_argument("--k", type=_count, default=20, help="length of a recommendation list (default: %(default)s)")
    parser.add_argument(
        "--model",
        nargs="+",
        action="extend",
        choices=list(CANDIDATES),
        metavar="NAME",
        help=f"evaluate only these models: {', '.join(CANDIDATES)}",
    )
    parser.add_argument(
        "--diversity",
        type=_share,
        default=0.0,
        metavar="S",
        help="strength, 0 to 1, of a re-ranking that shows more of the catalogue (default: %(default)g)",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    parser.add_argument("--seed", type=_seed, default=0, help="seed of the splits (default: %(default)s)")
    limits, search = TrialLimits(), ModelSearchSettings()
    parser.add_argument(
        "--time-limit",
        type=_positive,
        default=limits.seconds,
        metavar="S",
        help="time limit of one trial in seconds (default: %(default)g)",
    )
    parser.add_argument(
        "--memory-mb",
        type=_positive,
        default=limits.memory_mb,
        metavar="M",
        help="memory limit of one trial in MiB (default: %(default)g)",
    )
    parser.add_argument(
        "--trials",
        type=_count,
        default=search.trials,
        metavar="N",
        help="trials of the model search; later settings are skipped (default: %(default)s)",
    )
    parser.add_argument(
        "--budget",
        type=_positive,
        default=search.seconds,
        metavar="S",
        help="safety limit of the model search in seconds, reported when it is reached (default: %(default)g)",
    )
    return parser.parse_args(arguments)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of 1 or more")
    return int(text)


def _seed(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of 0 or more")
    return int(text)


def _share(text: str) -> float:
    number = 0.0 if text == "0" else _positive(text)
    if number > 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 1")
    return number


def _positive(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return number


if __name__ == "__main__":
    sys.exit(run_main(main))
