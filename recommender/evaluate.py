"""Evaluate every model on held-out plays. The model and its settings are chosen on the training plays alone.

Exit 0: evaluated; 1: no user can be evaluated, or every model failed; 2: a wrong argument, or an unusable file.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from core.errors import InteractionsError, ModelError, MoovitamixError, UsageError
from core.exit_codes import returns_exit_code, run_main
from recommender.data.interaction_files import add_item_attributes, read_interactions
from recommender.data.interactions import Interactions
from recommender.evaluation.evaluation_report import EvaluationReport
from recommender.evaluation.metrics import RankingMetrics, measure_ranking
from recommender.evaluation.model_search import ModelSearchResult, ModelSearchSettings, search_models
from recommender.evaluation.splitting import Holdout, split_by_user
from recommender.evaluation.trials import Trial, TrialLimits, TrialRunner
from recommender.models.registry import CANDIDATES, Candidates

_FILE_WIDTH = 140


class EmptyHoldout(InteractionsError):
    """The plays are readable, but no user has both training plays and held-out plays."""


def evaluate(
    train: Interactions,
    test: Interactions,
    candidates: Candidates = CANDIDATES,
    search: ModelSearchSettings | None = None,
) -> EvaluationReport:
    """Choose the model and its settings on a split of `train`; then fit all models on `train`, and measure on `test`.

    Raises InteractionsError when `train` has no plays, EmptyHoldout when no user can be evaluated, ModelError when
    every model failed.
    """
    search = search or ModelSearchSettings()
    if not len(train):
        raise InteractionsError("train has no plays to learn from")
    holdout = Holdout.from_interactions(test, train)
    if not len(holdout):
        raise EmptyHoldout(
            f"no user of test can be evaluated: {holdout.left_out:,} are not in train, "
            f"and {holdout.repeaters:,} played only tracks that train has too"
        )
    split = split_by_user(train, seed=search.seed, users=search.users)
    if not len(split.holdout):
        raise EmptyHoldout("train cannot be split for the model search: no user played two or more tracks")
    selection = search_models(split.train, split.holdout, candidates, search)
    search.log_progress(f"model search on {len(selection.holdout):,} users of train chose {selection.chosen.model}")
    return _measure_on(train, holdout, selection, candidates, search)


def _measure_on(
    train: Interactions,
    holdout: Holdout,
    selection: ModelSearchResult,
    candidates: Candidates,
    search: ModelSearchSettings,
) -> EvaluationReport:
    trials: dict[str, Trial] = {}
    measures: dict[str, RankingMetrics] = {}
    failed_models = dict(selection.failed_models)
    n = min(search.k, len(train.track_ids))
    with TrialRunner.prepare(train, holdout.users, n, exclude=train) as runner:
        for name, result in selection.results.items():
            search.log_progress(f"measuring {name}")
            try:
                trial = runner.run(candidates[name].model_class, result.params, search.limits)
            except ModelError as error:
                failed_models[name] = str(error)
                search.log_progress(f"{name}: failed, {error}")
            else:
                trials[name], measures[name] = trial, measure_ranking(trial.ranking, holdout, train, search.k)
    if not trials:
        reasons = "; ".join(f"{name} {why}" for name, why in failed_models.items())
        raise ModelError(f"every model failed: {reasons}")
    return EvaluationReport(selection, holdout, trials, measures, failed_models)


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
        options.budget,
        log_progress=lambda line: print(line, file=sys.stderr, flush=True),
    )
    try:
        train, test = read_interactions(options.train), read_interactions(options.test)
        report = evaluate(
            add_item_attributes(train, options.tracks) if options.tracks else train, test, candidates, search
        )
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
    for name, why in report.failed_models.items():
        console.print(f"excluded: {name}, {why}", markup=False)
    holdout = report.holdout
    console.print(f"{len(holdout):,} users evaluated; {holdout.left_out:,} users of test are not in train")


def _read_options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m recommender.evaluate", description=__doc__)
    files = "Parquet or CSV with the columns user_id, track_id and optionally plays"
    parser.add_argument("--train", type=Path, required=True, metavar="FILE", help=f"training plays: {files}")
    parser.add_argument("--test", type=Path, required=True, metavar="FILE", help="held-out plays, in the same format")
    parser.add_argument(
        "--tracks",
        type=Path,
        metavar="FILE",
        help="item attributes for the models that use them: columns track_id and artist, genres or both",
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
        "--budget",
        type=_positive,
        default=search.budget_seconds,
        metavar="S",
        help="seconds of the model search; later settings are skipped (default: %(default)g)",
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
