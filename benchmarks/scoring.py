"""Scoring: the rate of ALS against implicit, and the time and memory of the largest recipe as data grows."""

from __future__ import annotations

import numpy as np
from implicit.cpu.als import AlternatingLeastSquares
from scipy.sparse import csr_matrix
from threadpoolctl import threadpool_limits

from benchmarks.context import BenchmarkContext
from benchmarks.figures import Figure, Measurement, PairedRuns, Scaling, Table, breakdown, run_in_turns, seconds_of
from benchmarks.processes import Show
from benchmarks.sample_data import PAIRS_PER_USER, make_plays
from recommender.models.als import ALS
from recommender.models.registry import ChebyshevWithALS

N, FACTORS = 20, 64
_BASE = {"users": 3_000, "tracks": 4_000, "plays": 100_000}
_GROWTH = (1, 3, 10)


def measure(context: BenchmarkContext) -> Measurement:
    """Compare the scoring rate with implicit, then fit and score with the largest recipe."""
    users, tracks = context.capped(30_000, 41_000)
    runs, equal_share = context.run(compare, users, tracks, context.rounds).result
    process = context.run(fit_and_score, users, tracks, PAIRS_PER_USER * users)
    plays, fit, score = process.result
    sizes = f"{plays:,} plays of {users:,} users and {tracks:,} tracks"
    name, parts = "scoring: the Chebyshev filter with ALS, fitted and all users scored", {"fit": fit, "scoring": score}
    note = f", {tracks:,} tracks; {equal_share:.2%} of the tracks are the same"
    return Measurement(
        [
            runs.rate_figure("scoring: users a second, against implicit", "users", note, at_least=1.0),
            Figure(name, fit + score, sizes, unit="s", at_most=150.0, breakdown=breakdown(parts)),
            Figure("scoring: peak memory of that process", process.peak_bytes / 1e6, sizes, unit="MB", at_most=2_000.0),
        ]
    )


def compare(show: Show, users: int, tracks: int, rounds: int) -> tuple[PairedRuns, float]:
    """Score all users with ALS and with implicit, in turns, after a warm-up. Also returns the share of equal tracks."""
    show("generating plays")
    plays = make_plays(users, tracks, PAIRS_PER_USER * users)
    show("fitting vectors")
    model = ALS(factors=FACTORS, iterations=2).fit(plays)
    user_rows, matrix = np.arange(len(plays.user_ids)), plays.plays
    matrix = csr_matrix((matrix.data, matrix.indices, matrix.indptr), shape=matrix.shape)
    with threadpool_limits(1, "blas"):
        implicit_model = AlternatingLeastSquares(factors=FACTORS)
        implicit_model.item_factors, implicit_model.user_factors = model._tracks, model._users
        implicit_tracks = implicit_model.recommend(user_rows, matrix, N=N, filter_already_liked_items=True)[0]
        equal = implicit_tracks == model.recommend(plays.user_ids, N, exclude=plays).ids
        equal_share = float(equal[model._users.any(axis=1)].mean())
        runs = run_in_turns(
            rounds,
            lambda: model.recommend(plays.user_ids, N, exclude=plays),
            lambda: implicit_model.recommend(user_rows, matrix, N=N, filter_already_liked_items=True),
            count=users,
            show=show,
        )
    return runs, equal_share


def fit_and_score(show: Show, users: int, tracks: int, interactions: int) -> tuple[int, float, float]:
    """Fit the largest recipe on synthetic training data, and score all users.

    `interactions` is the number of pairs of a user and a track. Four in five of them are training data. Returns the
    number of training pairs, the seconds to fit, and the seconds to score.
    """
    show("generating plays")
    plays = make_plays(users, tracks, interactions)
    show("the Chebyshev filter with ALS: fit and scoring")
    model = ChebyshevWithALS()
    fit = seconds_of(lambda: model.fit(plays))
    return len(plays), fit, seconds_of(lambda: model.recommend(plays.user_ids, N, exclude=plays))


def measure_growth(context: BenchmarkContext) -> Measurement:
    """Measure fitting and scoring while users, tracks or plays grow, one dimension at a time."""
    limits = (context.sizes.users, context.sizes.tracks, context.sizes.sessions)
    base = dict(zip(_BASE, map(min, _BASE.values(), limits), strict=True))

    def seconds(sizes: dict[str, int]) -> float:
        _, fit, score = context.run(fit_and_score, *sizes.values()).result
        return float(fit + score)

    first = (1, seconds(base))
    scalings = [
        Scaling(name, [first, *((factor, seconds(base | {name: base[name] * factor})) for factor in _GROWTH[1:])])
        for name in base
    ]
    rows = [
        " | ".join([scaling.dimension, *(f"{seconds:.1f}" for _, seconds in scaling.points), f"{scaling.exponent:.2f}"])
        for scaling in scalings
    ]
    sizes = ", ".join(f"{count:,} {name}" for name, count in base.items())
    note = f"Seconds to fit and to score all users. Times 1 is {sizes}. An exponent of 1 is in proportion."
    table = Table("Growth of training", "more | times 1 | times 3 | times 10 | exponent", rows, note)
    return Measurement([], [table], scalings=scalings)
