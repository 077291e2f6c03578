"""Compare our models with other libraries: quality, seconds and memory on one split.

Run `make peers` once, then `.venv/bin/python -m benchmarks.peers --mock 3000 4000 20000`, or give `--train` and
`--test`, the files of `python -m recommender.evaluate`. It prints a table in Markdown.

Every library chooses one of its settings on the same split of the training plays, by NDCG@20 of the same users. It is
then fitted on all of train, and recommends 20 tracks to the same test users, without the tracks of train. Each fit has
its own process. Our search chooses as `evaluate` does.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.figures import Table
from benchmarks.monitoring.mock_days import plays_before, read_play_log
from benchmarks.processes import ROOT
from benchmarks.report import table_sections
from benchmarks.source import Sizes, mock_api
from recommender.data.interaction_files import read_interactions
from recommender.data.interactions import Interactions
from recommender.data.play_log import PlayLog
from recommender.evaluate import all_plays, evaluate, read_train, split_for_search
from recommender.evaluation.metrics import RankingMetrics, measure_ranking
from recommender.evaluation.model_search import ModelSearchSettings, format_params
from recommender.evaluation.splitting import Holdout, split_last_plays
from recommender.models.base import Ranking
from recommender.models.registry import CANDIDATES

K, SEED, THREADS = 20, 0, 2
_SECONDS, _MEMORY_MB = 900, 6_000
_SINGLE_MODELS = ("content", "als", "ease", "chebyshev")
_HEADER = f"model | recall@{K} | ndcg@{K} | fit s | score s | CPU s | peak MB | settings"

Settings = Mapping[str, Any]


@dataclass(frozen=True)
class Peer:
    """A library with its settings to try."""

    library: str
    settings: Sequence[Settings]

    @property
    def in_own_environment(self) -> bool:
        """Whether it is not a dependency of this project."""
        return self.library in ("rectools", "lightfm")


# The first settings are the defaults of the library, except for sizes; others are common values.
_ALS_STEPS: Sequence[Settings] = [
    {"alpha": 1.0, "regularization": 0.01},
    {"alpha": 10.0, "regularization": 1.0},
    {"alpha": 10.0, "regularization": 10.0},
    {"alpha": 10.0, "regularization": 50.0},
    {"alpha": 40.0, "regularization": 50.0},
    {"alpha": 40.0, "regularization": 50.0, "factors": 256},
]
_BPR_STEPS: Sequence[Settings] = [
    {},
    {"learning_rate": 0.05},
    {"learning_rate": 0.05, "regularization": 0.002},
    {"learning_rate": 0.05, "regularization": 0.05},
    {"learning_rate": 0.05, "iterations": 300},
    {"learning_rate": 0.1, "iterations": 300, "regularization": 0.02},
]
_BM25_STEPS: Sequence[Settings] = [
    {},
    {"K": 100},
    {"K": 500},
    {"K": 100, "B": 0.75, "K1": 0.5},
    {"K": 500, "B": 0.75, "K1": 0.5},
    {"K": 500, "B": 0.2, "K1": 1.2},
]
_LIGHTFM_STEPS: Sequence[Settings] = [
    {},
    {"epochs": 10},
    {"item_alpha": 1e-6, "user_alpha": 1e-6},
    {"attributes": True},
    {"attributes": True, "epochs": 10},
    {"attributes": True, "item_alpha": 1e-5, "user_alpha": 1e-5},
]
PEERS: Mapping[str, Peer] = {
    "popularity": Peer("popularity", [{}]),
    "implicit ALS": Peer("implicit", [{"model": "als", "factors": 128, **step} for step in _ALS_STEPS]),
    "implicit BPR": Peer("implicit", [{"model": "bpr", "factors": 128, **step} for step in _BPR_STEPS]),
    "implicit BM25": Peer("implicit", [{"model": "bm25", **step} for step in _BM25_STEPS]),
    "RecTools EASE": Peer(
        "rectools", [{"model": "ease", "regularization": value} for value in (500.0, 1_000.0, 200.0, 100.0, 50.0, 20.0)]
    ),
    "RecTools PureSVD": Peer(
        "rectools", [{"model": "puresvd", "factors": factors} for factors in (10, 20, 40, 80, 160, 320)]
    ),
    "LightFM WARP": Peer("lightfm", [{"no_components": 64, "epochs": 20, **step} for step in _LIGHTFM_STEPS]),
}


@dataclass(frozen=True, eq=False)
class FittedPeer:
    """The lists of one fit, as columns of train, and its cost."""

    columns: np.ndarray[Any, np.dtype[np.intp]]
    cost: Mapping[str, float]


@dataclass(frozen=True)
class PeerRunner:
    """Runs each fit in its own process; `python` has the libraries that are not dependencies of this project."""

    python: Path

    def fit(self, peer: Peer, settings: Settings, train: Interactions, holdout: Holdout) -> FittedPeer | str:
        """Fit on train, and recommend to the users of the holdout. Returns one line if it failed."""
        task = {"library": peer.library, "settings": dict(settings), "n": K, "threads": THREADS}
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            train.save(folder / "train.npz")
            np.save(folder / "users.npy", train.user_rows(holdout.users))
            (folder / "task.json").write_text(json.dumps({**task, "memory_mb": _MEMORY_MB}))
            interpreter = self.python if peer.in_own_environment else sys.executable
            command = [str(interpreter), str(Path(__file__).with_name("peer_process.py")), name]
            try:
                process = subprocess.run(
                    command, env=_environment(peer), capture_output=True, text=True, timeout=_SECONDS
                )
            except subprocess.TimeoutExpired:
                return f"more than {_SECONDS} s"
            if process.returncode:
                last = (process.stderr.strip().splitlines() or [f"exit code {process.returncode}"])[-1]
                return f"more than {_MEMORY_MB:,} MB" if "Memory" in last else last[:120]
            return FittedPeer(np.load(folder / "columns.npy"), json.loads((folder / "result.json").read_text()))

    def choose(self, peer: Peer, train: Interactions, holdout: Holdout) -> tuple[Settings, list[str]]:
        """The settings with the highest NDCG on the validation users; and one line for each fit."""
        if len(peer.settings) == 1:
            return peer.settings[0], []
        results: list[tuple[float, Settings]] = []
        lines = []
        for settings in peer.settings:
            fitted = self.fit(peer, settings, train, holdout)
            ndcg = -1.0 if isinstance(fitted, str) else measure(fitted, holdout, train).mean_ndcg
            results.append((ndcg, settings))
            lines.append(f"{format_params(settings)}: {fitted if isinstance(fitted, str) else f'ndcg {ndcg:.4f}'}")
            if max(result[0] for result in results) < 0:
                break  # what is too large for the first setting is too large for the others
        return max(results, key=lambda result: result[0])[1], lines


def measure(fitted: FittedPeer, holdout: Holdout, train: Interactions) -> RankingMetrics:
    """Measure lists as `evaluate` does."""
    is_filled = fitted.columns >= 0
    ids = np.where(is_filled, train.track_ids[fitted.columns], -1)
    scores = np.where(is_filled, -np.arange(ids.shape[1], dtype=np.float32), -np.inf).astype(np.float32)
    return measure_ranking(Ranking(ids, scores), holdout, train, K)


def _environment(peer: Peer) -> dict[str, str]:
    """The same threads for all. `implicit` runs its own threads, and asks for one thread of linear algebra."""
    threads = "1" if peer.library == "implicit" else str(THREADS)
    names = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    own = {} if peer.in_own_environment else {"PYTHONPATH": str(ROOT)}
    limits = {"OMP_NUM_THREADS": str(THREADS), "OPENBLAS_THREAD_TIMEOUT": "4", **dict.fromkeys(names, threads)}
    return {**os.environ, **limits, **own}


def compare(train: Interactions | PlayLog, test: Interactions, runner: PeerRunner) -> list[str]:
    """Rows of a table: our chosen model, our best one without item attributes, our single models, and the peers."""
    plays = all_plays(train)
    holdout = Holdout.from_interactions(test, plays)
    report = evaluate(train, test, search=ModelSearchSettings(K, SEED, log_progress=_log))
    split, _ = split_for_search(train, SEED)
    rows = []
    without_attributes = next((name for name in report.trials if not _uses_item_attributes(name)), report.chosen)
    for name in dict.fromkeys([report.chosen, without_attributes, *_SINGLE_MODELS]):
        if name not in report.trials:
            _log(f"{name}: {report.failed_models.get(name)}")
            continue
        trial = report.selection.results[name]
        ours = Peer("moovitamix", [{"model": name, "settings": dict(trial.params)}])
        fitted = runner.fit(ours, ours.settings[0], all_plays(train, trial.weighting), holdout)
        title = f"**{name}** (chosen by `evaluate`)" if name == report.chosen else name
        rows.append(_row(title, fitted, trial.params, holdout, plays))
    for name, peer in PEERS.items():
        settings, lines = runner.choose(peer, split.train, report.selection.holdout)
        _log("\n".join(f"{name} {line}" for line in lines))
        rows.append(_row(name, runner.fit(peer, settings, plays, holdout), settings, holdout, plays))
    return rows


def _uses_item_attributes(name: str) -> bool:
    models = [name, *CANDIDATES[name].members.values()]
    return any(CANDIDATES[model].model_class.uses_item_attributes for model in models)


def _row(name: str, fitted: FittedPeer | str, settings: Settings, holdout: Holdout, plays: Interactions) -> str:
    if isinstance(fitted, str):
        return f"{name} | - | - | - | - | - | - | {fitted}"
    measures, cost = measure(fitted, holdout, plays), fitted.cost
    times = " | ".join(f"{cost[key]:.1f}" for key in ("fit_seconds", "score_seconds", "cpu_seconds"))
    quality = f"{measures.mean_recall:.4f} | {measures.mean_ndcg:.4f}"
    chosen = format_params({key: value for key, value in settings.items() if key != "model"})
    return f"{name} | {quality} | {times} | {cost['peak_mb']:,.0f} | {chosen}"


def read_mock(sizes: Sizes) -> tuple[PlayLog, Interactions]:
    """Plays of the mock API, split by time: the last tenth is the test."""
    with mock_api(sizes) as api_url:
        log = read_play_log(api_url)
    split_at = split_last_plays(log)[1]
    return plays_before(log, split_at), log.interactions_from(split_at)


def _log(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main() -> None:
    """Print a table in Markdown."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--mock", nargs=3, type=int, metavar=("USERS", "TRACKS", "SESSIONS"), help="rows of a mock API")
    parser.add_argument("--train", type=Path, help="training plays, as for python -m recommender.evaluate")
    parser.add_argument("--test", type=Path, help="held-out plays")
    options = parser.parse_args()
    train: Interactions | PlayLog
    if options.mock:
        train, test = read_mock(Sizes(*options.mock))
    elif options.train and options.test:
        train, test = read_train(options.train, None, None), read_interactions(options.test)
    else:
        parser.error("give --mock, or --train and --test")
    rows = compare(train, test, PeerRunner(ROOT / ".venv-peers" / "bin" / "python"))
    load = f"load {os.getloadavg()[1]:.1f} at the end"
    table = Table(f"{len(all_plays(train)):,} pairs; {THREADS} threads; {load}", _HEADER, rows)
    print(*table_sections([table]), sep="\n")


if __name__ == "__main__":
    main()
