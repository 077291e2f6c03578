"""Evaluates every model on held-out plays; the model and its settings are chosen on the training plays alone.

Exit 0: measured; 1: no user can be asked, or no model is left; 2: a wrong argument, or a file nothing can be
learned from.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from core.errors import InteractionsError, ModelError
from core.tracebacks import without_tracebacks
from recommender.data.interaction_files import add_item_attributes, read_interactions
from recommender.data.interactions import Interactions
from recommender.evaluation.evaluation_report import EvaluationReport
from recommender.evaluation.metrics import RankingMetrics, measure_ranking
from recommender.evaluation.model_search import ModelSearchResult, ModelSearchSettings, search_models
from recommender.evaluation.splitting import Holdout, split_by_user
from recommender.evaluation.trials import Trial, TrialLimits, TrialRunner
from recommender.models.registry import CANDIDATES, Candidates

_WIDTH_OF_A_FILE = 140


class NothingToMeasure(InteractionsError):
    """The plays can be read, and no user has both some to learn from and others to be asked for."""


def evaluate(
    train: Interactions,
    test: Interactions,
    candidates: Candidates = CANDIDATES,
    search: ModelSearchSettings | None = None,
) -> EvaluationReport:
    """Settings and the choice of model by a split of `train` alone; then each learns all of it and is asked for `test`.

    Raises InteractionsError when there is nothing to learn from, NothingToMeasure when nobody can be asked, ModelError
    when no model is left.
    """
    search = search or ModelSearchSettings()
    if not len(train):
        raise InteractionsError("train has no plays: there is nothing to learn from")
    holdout = Holdout.of(test, train)
    if not len(holdout):
        raise NothingToMeasure(
            f"test has nothing to ask: of its users {holdout.left_out:,} are not in train, "
            f"and {holdout.repeaters:,} played nothing in it that is not in train"
        )
    split = split_by_user(train, seed=search.seed, users=search.users)
    if not len(split.holdout):
        raise NothingToMeasure("train cannot be split to choose on: nobody in it played two tracks or more")
    selection = search_models(split.train, split.holdout, candidates, search)
    search.say(f"choice on {len(selection.holdout):,} users of train: {selection.chosen.model}")
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
    out = dict(selection.out)
    n = min(search.k, len(train.track_ids))
    with TrialRunner.of(train, holdout.users, n, exclude=train) as ground:
        for name, result in selection.results.items():
            search.say(f"measuring {name}")
            try:
                trial = ground.run(candidates[name].make, result.params, search.limits)
            except ModelError as error:
                out[name] = str(error)
                search.say(f"{name}: out, {error}")
            else:
                trials[name], measures[name] = trial, measure_ranking(trial.ranking, holdout, train, search.k)
    if not trials:
        reasons = "; ".join(f"{name} {why}" for name, why in out.items())
        raise ModelError(f"no model is left to measure: {reasons}")
    return EvaluationReport(selection, holdout, trials, measures, out)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    options = _read_options(arguments)
    candidates = {name: CANDIDATES[name] for name in CANDIDATES if not options.model or name in options.model}
    limits = TrialLimits(options.time_limit, options.memory_mb)
    search = ModelSearchSettings(
        options.k, options.seed, limits, options.budget, say=lambda line: print(line, file=sys.stderr, flush=True)
    )
    try:
        train, test = read_interactions(options.train), read_interactions(options.test)
        report = evaluate(
            add_item_attributes(train, options.tracks) if options.tracks else train, test, candidates, search
        )
    except (NothingToMeasure, ModelError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except InteractionsError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        print(f"error: working files cannot be written: {error.strerror or error}{where}; see TMPDIR", file=sys.stderr)
        return 1
    if options.json:
        print(json.dumps(report.as_json(), indent=2, allow_nan=False))
    else:
        _show(report)
    return 0


def _show(report: EvaluationReport) -> None:
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = _WIDTH_OF_A_FILE
    console.print(report.as_table())
    for name, why in report.out.items():
        console.print(f"out: {name}, {why}", markup=False)
    holdout = report.holdout
    console.print(f"{len(holdout):,} users; {holdout.left_out:,} of test left out, who are not in train")


def _read_options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m recommender.evaluate", description=__doc__)
    files = "Parquet or CSV with the columns user_id, track_id and, if there is one, plays"
    parser.add_argument("--train", type=Path, required=True, metavar="FILE", help=f"what models learn from: {files}")
    parser.add_argument("--test", type=Path, required=True, metavar="FILE", help="what they are asked for, likewise")
    parser.add_argument(
        "--tracks",
        type=Path,
        metavar="FILE",
        help="what is known of tracks, for models that use it: columns track_id and artist, genres, or one of these",
    )
    parser.add_argument("--k", type=_count, default=20, help="how many tracks are recommended (default: %(default)s)")
    parser.add_argument(
        "--model",
        nargs="+",
        action="extend",
        choices=list(CANDIDATES),
        metavar="NAME",
        help=f"only these compete, of {', '.join(CANDIDATES)}",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    parser.add_argument("--seed", type=_seed, default=0, help="of the splits (default: %(default)s)")
    limits, search = TrialLimits(), ModelSearchSettings()
    parser.add_argument(
        "--time-limit",
        type=_positive,
        default=limits.seconds,
        metavar="S",
        help="seconds after which a model is out (default: %(default)g)",
    )
    parser.add_argument(
        "--memory-mb",
        type=_positive,
        default=limits.memory_mb,
        metavar="M",
        help="MiB of memory beyond which a model is out (default: %(default)g)",
    )
    parser.add_argument(
        "--budget",
        type=_positive,
        default=search.budget_seconds,
        metavar="S",
        help="seconds after which no further settings are tried (default: %(default)g)",
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
    sys.exit(without_tracebacks(main))
