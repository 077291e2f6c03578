"""Fit one model and recommend to some users: `python benchmarks/peer_process.py FOLDER`. `benchmarks.peers` starts it.

Peers have an environment of their own, so this file imports only numpy, scipy and the library of its model.

FOLDER has `train.npz` (as `Interactions.save` writes it), `users.npy` (rows of train) and `task.json`. The process
writes the columns of the recommended tracks, users x n, to `columns.npy`, and seconds and memory to `result.json`.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, hstack, identity

Columns = NDArray[np.intp]
Recommend = Callable[[Columns], Columns]
_USERS_AT_ONCE = 1_000


@dataclass(frozen=True)
class PeerTask:
    """Plays (users x tracks), item attributes (one code per track), settings, length of a list, and threads."""

    folder: Path
    plays: csr_matrix
    attributes: Mapping[str, NDArray[np.int32]]
    settings: Mapping[str, Any]
    n: int
    threads: int

    @property
    def weights(self) -> csr_matrix:
        """log(1 + plays), as our models weight plays."""
        return csr_matrix((np.log1p(self.plays.data), self.plays.indices, self.plays.indptr), shape=self.plays.shape)


def popularity(task: PeerTask) -> Recommend:
    """The tracks with most users."""
    users = np.bincount(task.plays.indices, minlength=task.plays.shape[1]).astype(np.float32)
    return _best_of(task, lambda rows: np.tile(users, (len(rows), 1)))


def implicit(task: PeerTask) -> Recommend:
    """A model of `implicit`; the setting `model` names it."""
    from implicit.cpu.als import AlternatingLeastSquares
    from implicit.cpu.bpr import BayesianPersonalizedRanking
    from implicit.nearest_neighbours import BM25Recommender

    settings = dict(task.settings)
    name = settings.pop("model")
    if name == "bm25":
        model = BM25Recommender(num_threads=task.threads, **settings)
    else:
        model_class = {"als": AlternatingLeastSquares, "bpr": BayesianPersonalizedRanking}[name]
        model = model_class(num_threads=task.threads, random_state=0, **settings)
    weights = task.weights
    model.fit(weights, show_progress=False)
    return lambda rows: np.asarray(
        model.recommend(rows, weights[rows], N=task.n, filter_already_liked_items=True)[0], np.intp
    )


def rectools(task: PeerTask) -> Recommend:
    """EASE or PureSVD of RecTools, through its own data set and `recommend`."""
    import pandas as pd
    from rectools.dataset import Dataset
    from rectools.models import EASEModel, PureSVDModel

    settings = dict(task.settings)
    model = {"ease": EASEModel, "puresvd": PureSVDModel}[settings.pop("model")](
        recommend_n_threads=task.threads, **settings
    )
    pairs = task.weights.tocoo()
    frame = {"user_id": pairs.row, "item_id": pairs.col, "weight": pairs.data, "datetime": "2026-01-01"}
    dataset = Dataset.construct(pd.DataFrame(frame))
    model.fit(dataset)

    def recommend(rows: Columns) -> Columns:
        lists = model.recommend(rows, dataset, k=task.n, filter_viewed=True)
        columns = np.full((len(rows), task.n), -1, np.intp)
        columns[np.searchsorted(rows, lists["user_id"]), lists["rank"] - 1] = lists["item_id"]
        return columns

    return recommend


def lightfm(task: PeerTask) -> Recommend:
    """LightFM with the WARP loss; with the setting `attributes`, tracks have artists and genres as features."""
    from lightfm import LightFM

    settings = dict(task.settings)
    epochs, with_attributes = settings.pop("epochs"), settings.pop("attributes", False)
    tracks = task.plays.shape[1]
    features = [identity(tracks, np.float32, "csr")]
    if with_attributes:
        known = [(codes, np.flatnonzero(codes >= 0)) for codes in task.attributes.values()]
        shapes = [(tracks, int(codes.max()) + 1) for codes, _ in known]
        features += [
            csr_matrix((np.ones(len(rows), np.float32), (rows, codes[rows])), shape=shape)
            for (codes, rows), shape in zip(known, shapes, strict=True)
        ]
    item_features = hstack(features, "csr", np.float32)
    model = LightFM(loss="warp", random_state=0, **settings)
    liked = csr_matrix((np.ones(task.plays.nnz, np.float32), task.plays.indices, task.plays.indptr), task.plays.shape)
    model.fit(liked, item_features=item_features, epochs=epochs, num_threads=task.threads)
    biases, items = model.get_item_representations(item_features)
    users = model.get_user_representations()[1]
    return _best_of(task, lambda rows: users[rows] @ items.T + biases)


def moovitamix(task: PeerTask) -> Recommend:
    """A model of this project with the settings of the model search."""
    from recommender.data.interactions import Interactions
    from recommender.models.registry import CANDIDATES

    plays = Interactions.load(task.folder / "train.npz")
    model = CANDIDATES[task.settings["model"]].model_class(**task.settings["settings"]).fit(plays)
    return lambda rows: plays.track_columns(
        model.recommend(plays.user_ids[rows], task.n, plays, threads=task.threads).ids.ravel()
    ).reshape(len(rows), -1)


PEERS: Mapping[str, Callable[[PeerTask], Recommend]] = {
    function.__name__: function for function in (popularity, implicit, rectools, lightfm, moovitamix)
}


def _best_of(task: PeerTask, score: Callable[[Columns], NDArray[np.float32]]) -> Recommend:
    """Recommend the highest scores without played tracks, for libraries that only score."""

    def recommend(rows: Columns) -> Columns:
        blocks = []
        for begin in range(0, len(rows), _USERS_AT_ONCE):
            block = rows[begin : begin + _USERS_AT_ONCE]
            scores, played = score(block), task.plays[block].tocoo()
            scores[played.row, played.col] = -np.inf
            top = np.argpartition(-scores, min(task.n, scores.shape[1] - 1), axis=1)[:, : task.n]
            order = np.argsort(-np.take_along_axis(scores, top, axis=1), axis=1, kind="stable")
            blocks.append(np.take_along_axis(top, order, axis=1))
        return np.concatenate(blocks)

    return recommend


def run(folder: Path) -> dict[str, float]:
    """Fit and recommend. Returns seconds to fit and to recommend, CPU seconds of both, and peak MiB of the process."""
    content = json.loads((folder / "task.json").read_text())
    resource.setrlimit(resource.RLIMIT_DATA, (content["memory_mb"] * 2**20,) * 2)
    with np.load(folder / "train.npz", allow_pickle=False) as file:
        shape = (len(file["user_ids"]), len(file["track_ids"]))
        plays = csr_matrix((file["data"], file["indices"], file["indptr"]), shape=shape)
        attributes = {name: file[name] for name in file if name.startswith("labels.")}
    task = PeerTask(folder, plays, attributes, content["settings"], content["n"], content["threads"])
    rows, begin, cpu = np.load(folder / "users.npy", allow_pickle=False), time.perf_counter(), time.process_time()
    recommend = PEERS[content["library"]](task)
    fitted = time.perf_counter()
    np.save(folder / "columns.npy", recommend(rows))
    ended = time.perf_counter()
    return {
        "fit_seconds": fitted - begin,
        "score_seconds": ended - fitted,
        "cpu_seconds": time.process_time() - cpu,
        "peak_mb": _peak_mb(),
    }


def _peak_mb() -> float:
    """VmHWM: the peak in getrusage starts at that of the parent process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


def main(folder: Path) -> None:
    """Exit 1 with one line on stderr if the library raises."""
    try:
        result = run(folder)
    except Exception as error:
        sys.exit(f"{type(error).__name__}: {error}")
    (folder / "result.json").write_text(json.dumps(result))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
