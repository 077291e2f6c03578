"""The costs of a nightly run: block times and bytes, measured here, and times of steps from earlier benchmarks."""

from __future__ import annotations

import pickle
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from benchmarks import sample_data
from benchmarks.dask_scoring import local_cluster
from benchmarks.figures import seconds_of
from benchmarks.processes import Show
from benchmarks.sample_data import LENGTH, PAIRS_PER_USER
from compute.blocks import cores
from compute.runner import open_block_runner
from core.database import connect, migrate
from recommender.data.interactions import Interactions
from recommender.models.als import ALS
from recommender.models.base import LearnedModel, Recommender
from recommender.models.popularity import GenrePopularity
from recommender.models.registry import ChebyshevWithALS
from recommender.publishing.reasons import with_reasons
from recommender.publishing.recommendation_lists import USERS_PER_BLOCK, Scorer, recommend_to_all_users, user_blocks
from recommender.publishing.similar_tracks import similar_tracks

_SIMILAR = 20
# Users and tracks of the measured blocks. The time of a block of `chebyshev_als` grows with both.
SIZES = ((10_000, 20_000), (20_000, 20_000), (20_000, 40_000), (20_000, 80_000), (40_000, 40_000))
_RANK, _GRAPH_FACTORS, _FACTORS = 512, 64, 128


@dataclass(frozen=True)
class BlockTime:
    """CPU seconds of blocks of 1,000 users, with a block on each core at the same time, and bytes of the state."""

    users: int
    tracks: int
    pairs: int
    seconds: tuple[float, ...]
    state_bytes: int


@dataclass(frozen=True)
class ModelCosts:
    """The seconds of a block and the bytes of the model, as linear functions of tracks and of pairs.

    `spread` are the seconds of each measured block divided by the median of its size.
    """

    name: str
    measured: tuple[BlockTime, ...]
    seconds: tuple[float, float, float]
    state_bytes: tuple[float, float, float]
    spread: tuple[float, ...]

    @classmethod
    def of(cls, name: str, measured: Sequence[BlockTime]) -> ModelCosts:
        """Fit both functions by least squares, without negative coefficients."""
        spread = tuple(seconds / median(size.seconds) for size in measured for seconds in size.seconds)
        times = _fit(measured, [median(size.seconds) for size in measured])
        return cls(name, tuple(measured), times, _fit(measured, [float(size.state_bytes) for size in measured]), spread)

    def block_seconds(self, tracks: int, pairs: int) -> float:
        """Seconds of a block of 1,000 users."""
        return float(np.dot(self.seconds, (1, tracks, pairs)))

    def memory(self, tracks: int, pairs: int) -> float:
        """Bytes of the model in a worker."""
        return float(np.dot(self.state_bytes, (1, tracks, pairs)))


@dataclass(frozen=True)
class FlowCosts:
    """Seconds of the flow: per block on a cluster (CPU), and per recommendation that Postgres stores (wall time).

    `similar_per_pair` are its seconds for similar tracks, per pair of user and track.
    """

    per_block: float
    per_recommendation: float
    similar_per_pair: float


def measure_models(show: Show, rounds: int) -> list[ModelCosts]:
    """Measure the blocks of two models at all sizes. The slower model is the first.

    Their learned arrays are random numbers of the right shapes: the time of a block does not depend on them, and
    fitting would take most of the time.
    """
    models: dict[str, list[BlockTime]] = {}
    for users, tracks in SIZES:
        plays = sample_data.make_plays(users, tracks, PAIRS_PER_USER * users)
        for model in (_chebyshev_als(plays), _als(plays)):
            show(f"{model.name}, {users:,} users, {tracks:,} tracks")
            models.setdefault(model.name, []).append(_measure_blocks(model, plays, rounds))
    return [ModelCosts.of(name, measured) for name, measured in models.items()]


def measure_flow(show: Show, folder: Path, postgres: str, rounds: int) -> FlowCosts:
    """Measure the flow's part with the fastest model, and the storing of its recommendations."""
    plays = sample_data.make_plays(20_000, 10_000, PAIRS_PER_USER * 20_000)
    model, fallback = ALS(factors=64).fit(plays), GenrePopularity().fit(plays)
    show("similar tracks, then the flow")
    similar_seconds = seconds_of(lambda: similar_tracks(plays, _SIMILAR), time.process_time)
    similar = similar_tracks(plays, _SIMILAR)
    with local_cluster(folder) as (settings, _), open_block_runner(settings) as runner:

        def score() -> None:
            lists = recommend_to_all_users(model, fallback, plays, LENGTH, exclude_seen=True, runner=runner)
            for _ in with_reasons(lists, similar, plays):
                pass

        flow_seconds = median(seconds_of(score, time.process_time) for _ in range(rounds))
    show("storing recommendations")
    migrate(postgres)
    rows = sample_data.make_recommendations(len(plays.user_ids), len(plays.track_ids))
    few = sample_data.make_similar_tracks(100, _SIMILAR)
    with connect(postgres) as connection:
        sample_data.publish(connection, rows, few)  # warms up
        store_seconds = median(seconds_of(lambda: sample_data.publish(connection, rows, few)) for _ in range(rounds))
    per_block = flow_seconds / len(user_blocks(plays))
    return FlowCosts(per_block, store_seconds / len(rows), similar_seconds / len(plays))


def _als(plays: Interactions) -> Recommender:
    state = _als_state(plays, _FACTORS, np.random.default_rng(0))
    return LearnedModel(ALS, {"factors": _FACTORS}, plays.track_ids, state).restore()


def _als_state(plays: Interactions, factors: int, rng: np.random.Generator) -> dict[str, NDArray[Any]]:
    vectors = rng.standard_normal((len(plays.track_ids), factors), np.float32)
    return {"tracks": vectors, "strength": np.array([0.1], np.float32)}


def _chebyshev_als(plays: Interactions) -> Recommender:
    rng, graph = np.random.default_rng(0), plays.plays.astype(np.float32)
    state = {
        "0.sums": np.maximum(plays.users_per_track, 1).astype(np.float32),
        "0.vectors": rng.standard_normal((len(plays.track_ids), _RANK), np.float32),
        "0.values": np.linspace(1, 0.1, _RANK, dtype=np.float32),
        "0.data": graph.data,
        "0.indices": graph.indices,
        "0.indptr": graph.indptr,
        **{f"1.{name}": array for name, array in _als_state(plays, _GRAPH_FACTORS, rng).items()},
    }
    return LearnedModel(ChebyshevWithALS, {}, plays.track_ids, state).restore()


def _measure_blocks(model: Recommender, plays: Interactions, rounds: int) -> BlockTime:
    scorer = Scorer(
        model, GenrePopularity().fit(plays), plays.track_ids, np.unique(plays.genres), LENGTH, exclude_seen=True
    )
    blocks = user_blocks(plays)
    blocks_at_once = cores()

    def score(number: int) -> float:
        return seconds_of(lambda: scorer.recommend(blocks[number]), time.thread_time)

    numbers = [number % len(blocks) for number in range(blocks_at_once * (rounds + 1))]
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(blocks_at_once) as pool:
        seconds = list(pool.map(score, numbers))[blocks_at_once:]
    state_bytes = len(pickle.dumps(scorer, protocol=5))
    return BlockTime(len(plays.user_ids), len(plays.track_ids), len(plays), tuple(seconds), state_bytes)


def _fit(measured: Sequence[BlockTime], values: Sequence[float]) -> tuple[float, float, float]:
    from scipy.optimize import nnls

    # Columns of similar size, so that the solution is stable.
    scale = np.array([1.0, 1e4, 1e5])
    columns: NDArray[np.float64] = np.array([[1.0, size.tracks, size.pairs] for size in measured]) / scale
    weights = 1 / np.asarray(values)  # relative errors count
    solution, _ = nnls(columns * weights[:, None], np.ones(len(values)))
    constant, tracks, pairs = (solution / scale).tolist()
    return constant, tracks, pairs


def blocks_of(users: int) -> int:
    """The number of blocks for a number of users."""
    return -(-users // USERS_PER_BLOCK)


def spread_of(model: ModelCosts, tracks: int, pairs: int) -> Iterator[float]:
    """Seconds of blocks at a size: the function of the model, with the measured spread."""
    return (share * model.block_seconds(tracks, pairs) for share in model.spread)
