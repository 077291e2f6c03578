"""ChebyshevFilter against the published formula with dense matrices."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.sample_data import make_plays
from recommender.data.interactions import Interactions
from recommender.models import singular_vectors
from recommender.models.chebyshev import ChebyshevFilter, line_through, transfer
from tests.two_groups import dense
from tests.unit.recommender.models.test_ease import listening

Matrix = NDArray[np.float64]


def power(sums: Matrix, exponent: float) -> Matrix:
    return np.where(sums > 0, np.where(sums > 0, sums, 1) ** exponent, 0)


def graph_of_tracks(weights: Matrix) -> Matrix:
    """P = NᵀN."""
    n = power(weights.sum(axis=1), -0.5)[:, None] * weights * power(weights.sum(axis=0), -0.5)
    return np.asarray(n.T @ n)


def published_form(weights: Matrix, rank: int) -> Matrix:
    """The published algorithm: a recursion of Chebyshev polynomials of the Laplacian, plus an ideal low pass."""
    graph = graph_of_tracks(weights)
    laplacian = np.eye(len(graph)) - 2 * graph
    lobatto = np.cos((8 - np.arange(9)) / 8 * np.pi)
    plateau = np.where(lobatto < 0, 0.5 + 0.5 * np.abs(lobatto) ** 1.5, 0.5 - 0.5 * np.abs(lobatto) ** 1.5)
    gauss = np.cos((9.5 - np.arange(1, 10)) / 9 * np.pi)
    of_nodes, of_graph = [np.ones(9), gauss], [np.eye(len(graph)), laplacian]
    for _ in range(7):
        of_nodes.append(2 * gauss * of_nodes[-1] - of_nodes[-2])
        of_graph.append(2 * laplacian @ of_graph[-1] - of_graph[-2])
    coefficients = [2 / 9 * (polynomial @ plateau) for polynomial in of_nodes]
    coefficients[0] /= 2
    response = sum(c * polynomial for c, polynomial in zip(coefficients, of_graph, strict=True))
    _, vectors = np.linalg.eigh(graph)
    first = vectors[:, ::-1][:, :rank]
    d = weights.sum(axis=0)
    return np.asarray((weights * power(d, -0.4)) @ (response + 0.2 * first @ first.T) * power(d, 0.4))


def written_out(weights: Matrix, rank: int) -> Matrix:
    """The formula of the docstring."""
    graph = graph_of_tracks(weights)
    values, vectors = np.linalg.eigh(graph)
    p, v = values[::-1][:rank], vectors[:, ::-1][:, :rank]
    h = transfer()
    grid = np.linspace(0, p[-1], 20_001)
    slope, constant = np.polyfit(grid, h(grid), 1)
    d = weights.sum(axis=0)
    response = slope * graph + v * (h(p) - constant - slope * p + 0.2) @ v.T
    return np.asarray((weights * power(d, -0.4)) @ response * power(d, 0.4))


@pytest.mark.parametrize(("users", "tracks"), [(40, 90), (90, 40)])
@pytest.mark.parametrize("weighting", ["binary", "log1p"])
def test_scores_match_the_formula(users: int, tracks: int, weighting: str) -> None:
    plays = listening(users, tracks)
    weights = np.log1p(dense(plays)) if weighting == "log1p" else (dense(plays) > 0).astype(float)
    model = ChebyshevFilter(rank=8, weighting=weighting).fit(plays)  # type: ignore[arg-type]
    assert model._score(plays) == pytest.approx(written_out(weights, 8), abs=1e-4)


def test_scores_of_unplayed_tracks_match_the_published_form_at_full_rank() -> None:
    plays = listening(200, 30)
    weights = (dense(plays) > 0).astype(float)
    difference = ChebyshevFilter(rank=30).fit(plays)._score(plays) - published_form(weights, 30)
    assert np.abs(difference[weights == 0]).max() < 1e-4


def test_nearly_all_recommendations_are_those_of_the_published_form() -> None:
    plays = make_plays(1_000, 600, 20_000)
    weights = (dense(plays) > 0).astype(float)
    exact = published_form(weights, 100)
    exact[weights > 0] = -np.inf
    best = plays.track_ids[np.argsort(-exact, axis=1)[:, :20]]
    ranking = ChebyshevFilter(rank=100).fit(plays).recommend(plays.user_ids, 20, exclude=plays)
    common = [len(set(row) & set(expected)) for row, expected in zip(ranking.ids.tolist(), best.tolist(), strict=True)]
    assert np.mean(common) / 20 > 0.97


def test_two_users_and_two_tracks_by_hand() -> None:
    # Both play a, one also b: R = [[1, 1], [1, 0]], Du = (2, 1), d = (2, 1), so P = [[3/4, 1/√8], [1/√8, 1/2]] with the
    # eigenvalues 1 and 1/4. Without a low pass and popularity, h(1) v vᵀ + h(1/4) w wᵀ is left, minus c0.
    plays = Interactions.from_pairs([1, 1, 2], [10, 11, 10])
    scores = ChebyshevFilter(low_pass=0.0, popularity=0.0).fit(plays)._score(plays)
    h, vector, second_vector = (
        transfer(),
        np.array([np.sqrt(2), 1]) / np.sqrt(3),
        np.array([1, -np.sqrt(2)]) / np.sqrt(3),
    )
    filtered = h(1.0) * np.outer(vector, vector) + h(0.25) * np.outer(second_vector, second_vector)
    constant, _ = line_through(h, 0.25)
    expected = np.array([[1, 1], [1, 0]]) @ (filtered - constant * np.eye(2))
    assert scores == pytest.approx(expected, abs=1e-6)


def test_transfer_function_is_nearly_linear_for_small_eigenvalues() -> None:
    h, grid = transfer(), np.linspace(0, 0.15, 1_001)
    constant, slope = line_through(h, 0.15)
    assert (constant, slope) == pytest.approx(np.polyfit(grid, h(grid), 1)[::-1], abs=1e-4)
    assert np.abs(h(grid) - constant - slope * grid).max() < 0.02
    assert (h(0.0), h(0.5), h(1.0)) == pytest.approx((0, 0.5, 1), abs=0.006)


def test_rank_above_the_matrix_rank_makes_no_difference() -> None:
    plays = listening(12, 30)
    assert ChebyshevFilter(rank=12).fit(plays)._score(plays) == pytest.approx(
        ChebyshevFilter(rank=200).fit(plays)._score(plays), abs=1e-5
    )


def test_ranking_does_not_depend_on_the_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(singular_vectors, "_DENSE", 10)
    plays = listening(300, 200)
    ranking = ChebyshevFilter(rank=20).fit(plays).recommend(plays.user_ids, 10)
    monkeypatch.setattr("recommender.models.parallel.cores", lambda: 1)
    of_one_thread = ChebyshevFilter(rank=20).fit(plays).recommend(plays.user_ids, 10)
    assert (ranking.ids == of_one_thread.ids).all()
    assert (ranking.scores == of_one_thread.scores).all()
