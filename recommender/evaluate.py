"""Evaluates every model on held-out plays; the model and its settings are chosen on the training plays alone.

Exit 0: measured; 1: no listener can be asked, or no model is left; 2: a wrong argument, or a file nothing can be
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
    """The plays can be read, and no listener has both some to learn from and others to be asked for."""


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
    held_out = Holdout.of(test, train)
    if not len(held_out):
        raise NothingToMeasure(
            f"test has nothing to ask: of its listeners {held_out.left_out:,} are not in train, "
            f"and {held_out.repeaters:,} played nothing in it that is not in train"
        )
    split = split_by_user(train, seed=search.seed, listeners=search.listeners)
    if not len(split.held_out):
        raise NothingToMeasure("train cannot be split to choose on: nobody in it played two tracks or more")
    selection = search_models(split.train, split.held_out, candidates, search)
    search.say(f"choice on {len(selection.held_out):,} listeners of train: {selection.chosen.model}")
    return _measure_on(train, held_out, selection, candidates, search)


def _measure_on(
    train: Interactions,
    held_out: Holdout,
    selection: ModelSearchResult,
    candidates: Candidates,
    search: ModelSearchSettings,
) -> EvaluationReport:
    trials: dict[str, Trial] = {}
    measures: dict[str, RankingMetrics] = {}
    out = dict(selection.out)
    n = min(search.k, len(train.track_ids))
    with TrialRunner.of(train, held_out.users, n, exclude=train) as ground:
        for name, result in selection.results.items():
            search.say(f"measuring {name}")
            try:
                trial = ground.run(candidates[name].make, result.params, search.limits)
            except ModelError as error:
                out[name] = str(error)
                search.say(f"{name}: out, {error}")
            else:
                trials[name], measures[name] = trial, measure_ranking(trial.ranking, held_out, train, search.k)
    if not trials:
        reasons = "; ".join(f"{name} {why}" for name, why in out.items())
        raise ModelError(f"no model is left to measure: {reasons}")
    return EvaluationReport(selection, held_out, trials, measures, out)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    asked = _read_options(arguments)
    candidates = {name: CANDIDATES[name] for name in CANDIDATES if not asked.model or name in asked.model}
    limits = TrialLimits(asked.time_limit, asked.memory_mb)
    search = ModelSearchSettings(
        asked.k, asked.seed, limits, asked.budget, say=lambda line: print(line, file=sys.stderr, flush=True)
    )
    try:
        train, test = read_interactions(asked.train), read_interactions(asked.test)
        report = evaluate(add_item_attributes(train, asked.tracks) if asked.tracks else train, test, candidates, search)
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
    if asked.json:
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
    held_out = report.held_out
    console.print(f"{len(held_out):,} listeners; {held_out.left_out:,} of test left out, who are not in train")


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
