"""Scoring: listeners a second of a low-rank model against implicit, and the whole of the largest recipe."""

from __future__ import annotations

import time
from dataclasses import dataclass
from statistics import median

import numpy as np
from implicit.cpu.als import AlternatingLeastSquares
from scipy.sparse import csr_matrix
from threadpoolctl import threadpool_limits

from benchmarks.bench import Bench
from benchmarks.figures import Figure, Measured, at_least, at_most
from benchmarks.listening_sets import make_checkins
from benchmarks.processes import Show
from benchmarks.raw_copies import seconds_of
from recommender.models.als import ALS
from recommender.models.registry import GraphFilterWithALS

HOW = (
    "`recommend` of ALS with 64 factors for everyone, 20 tracks and none that was played, against"
    " `AlternatingLeastSquares.recommend` of `implicit` on the same vectors with a thread of linear algebra for each"
    " of its threads, which is how it is quickest; taking turns in one process, the median of the ratios. Then a graph"
    " filter with a share of ALS learns and scores everyone, in a process of its own. Both on made-up visits of"
    " power-law listeners to power-law places (`benchmarks/listening_sets.py`)."
)
N, FACTORS = 20, 64
_MOST_LISTENERS, _MOST_TRACKS = 30_000, 41_000


@dataclass(frozen=True)
class Turns:
    """Seconds for so many listeners and tracks, ours and implicit's, turn by turn; `same` is the share of equal ids."""

    listeners: int
    tracks: int
    seconds: list[tuple[float, float]]
    same: float


@dataclass(frozen=True)
class Whole:
    """Seconds of learning and of scoring everyone, from so many plays."""

    plays: int
    fit: float
    score: float


def measure(bench: Bench) -> Measured:
    """Both ways of scoring, taking turns, then learning and scoring as a whole."""
    listeners, tracks = min(bench.sizes.users, _MOST_LISTENERS), min(bench.sizes.tracks, _MOST_TRACKS)
    turns = bench.run(bench.show, take_turns, listeners, tracks, bench.rounds).result
    ours, peer = (median(side) for side in zip(*turns.seconds, strict=True))
    ratio = Figure(
        name="scoring: listeners a second, against implicit",
        number=median(implicit / own for own, implicit in turns.seconds),
        unit="",
        target=at_least(1.0),
        measured=f"{turns.listeners / ours:,.0f} listeners a second against {turns.listeners / peer:,.0f}, "
        f"{turns.tracks:,} tracks; {turns.same:.2%} of the tracks are the same",
    )
    ran = bench.run(bench.show, learn_and_score, listeners, tracks, 33 * listeners)
    whole = ran.result
    said = f"{whole.plays:,} plays of {listeners:,} listeners and {tracks:,} tracks"
    seconds = Figure(
        name="scoring: the graph filter with ALS learns and scores everyone",
        number=whole.fit + whole.score,
        unit="s",
        target=at_most(150.0),
        measured=said,
        spent=f"learning {whole.fit:.1f} s, scoring {whole.score:.1f} s",
    )
    memory = Figure(
        name="scoring: the most memory of that process",
        number=ran.peak_bytes / 1e6,
        unit="MB",
        target=at_most(2_000.0),
        measured=said,
    )
    return Measured(HOW, [ratio, seconds, memory])


def take_turns(show: Show, listeners: int, tracks: int, rounds: int) -> Turns:
    """Score everyone both ways, each `rounds` times, after a warm-up of both."""
    show("making up listeners")
    plays = make_checkins(listeners, tracks, 33 * listeners).train
    show("learning vectors")
    model = ALS(factors=FACTORS, iterations=2).fit(plays)
    rows, everyone = np.arange(len(plays.user_ids)), plays.user_ids
    matrix = csr_matrix((plays.plays.data, plays.plays.indices, plays.plays.indptr), shape=plays.plays.shape)
    with threadpool_limits(1, "blas"):
        peer = AlternatingLeastSquares(factors=FACTORS)
        peer.item_factors = model._tracks
        peer.user_factors = peer_vectors = model._users
        ids = peer.recommend(rows, matrix, N=N, filter_already_liked_items=True)[0]
        same = float((ids == model.recommend(everyone, N, exclude=plays).ids)[peer_vectors.any(axis=1)].mean())
        seconds = []
        for turn in range(rounds):
            show(f"scoring, {turn + 1} of {rounds}")
            ours = seconds_of(lambda: model.recommend(everyone, N, exclude=plays))
            theirs = seconds_of(lambda: peer.recommend(rows, matrix, N=N, filter_already_liked_items=True))
            seconds.append((ours, theirs))
    return Turns(listeners, tracks, seconds, same)


def learn_and_score(show: Show, listeners: int, tracks: int, visits: int) -> Whole:
    """Learn from made-up visits, four in five of so many, and score everyone."""
    show("making up listeners")
    plays = make_checkins(listeners, tracks, visits).train
    show("the graph filter with ALS: learning")
    began = time.perf_counter()
    model = GraphFilterWithALS().fit(plays)
    learned = time.perf_counter()
    show("the graph filter with ALS: scoring")
    model.recommend(plays.user_ids, N, exclude=plays)
    return Whole(len(plays), learned - began, time.perf_counter() - learned)
