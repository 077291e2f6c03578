"""Tastes for artists, niches and genres. This model can also recommend tracks without plays."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from core.errors import ModelError
from recommender.data.interactions import ARTIST, GENRE, UNKNOWN, Interactions
from recommender.models.base import Recommender, Scores
from recommender.models.scaling import column_sums, power, row_sums, scaled

Codes = NDArray[np.int32]

_KINDS = ("pair", "niche", "genre", "everyone")
_PRIORS = (1.0, 1.0, 1.0, 0.3)
_ROUNDS = 2
_SMOOTHING = 1.0  # plays added to every track
_MAX_CLUSTERED = 8_000  # pairs; their similarities take 256 MB as float32
_PAIRS_PER_NICHE = 4
_SHRINKAGE = 3.0  # of the similarity of pairs with few users


class Content(Recommender):
    """Recommend what others play most of the artists, niches and genres of a user.

    A track belongs to four groups: its pair of artist and genre, its niche (a cluster of pairs with common users), its
    genre, and all tracks. phi(t|s) is the share of track t in the plays of group s, and pop_s the share of the group in
    all plays. A user is a mixture of groups: the score of a track is the sum over its groups of
    (N_us + alpha_k pop_s) phi(t|s), where alpha_k is the prior of the kind of group and N_us the number of the user's
    plays that are assigned to the group.

    Plays are assigned by collapsed variational Bayes, CVB0 (Asuncion et al.: On smoothing and inference for topic
    models, UAI 2009): each of two rounds sets the share of a play that is assigned to group k to
    (max(N_us - own share, 0) + alpha_k pop_s) phi(t|s), divided by the sum over the groups of the track. So plays of
    one artist across many genres count for the artist.

    Fitting needs item attributes. The model keeps the groups of each track, and ignores attributes of later histories.
    """

    name: ClassVar[str] = "content"
    version: ClassVar[int] = 2
    uses_item_attributes: ClassVar[bool] = True

    def __init__(self) -> None:
        super().__init__()
        self._arrays: dict[str, NDArray[Any]] = {}

    def _fit(self, interactions: Interactions) -> None:
        tracks = interactions.track_ids.shape
        unknown = np.full(tracks, UNKNOWN, np.int32)
        artists, genres = (interactions.item_attributes.get(kind, unknown) for kind in (ARTIST, GENRE))
        if not ((artists != UNKNOWN) | (genres != UNKNOWN)).any():
            raise ModelError(f"{self.name} needs artists or genres of tracks")
        plays, pairs = column_sums(interactions.plays), _pairs(artists, genres)
        niches = _niches(interactions.plays, pairs, plays)
        kinds = [_without_single_group(codes) for codes in (pairs, niches, _numbered(genres))]
        groups = np.stack([*kinds, np.zeros(tracks, np.int32)])
        self._restore({"plays": plays, "groups": groups})

    def _score(self, users: Interactions) -> Scores:
        mixtures = self._mixtures(users.plays)
        scores: Scores = (mixtures[:, :-1] @ self._shares).toarray()
        scores += mixtures[:, [-1]].toarray() * self._phi[-1]
        scores += self._base
        return scores

    def _mixtures(self, plays: csr_array) -> csr_array:
        """N: the plays of each user that are assigned to each group, users x groups."""
        rows, columns = np.repeat(np.arange(plays.shape[0]), np.diff(plays.indptr)), plays.indices
        # One row per kind of group, one column per play.
        phi, prior = self._phi[:, columns], self._prior[:, columns]
        cells, places = np.unique(rows * self._count + self._groups[:, columns], return_inverse=True)
        places = places.reshape(phi.shape)

        def counts(assigned: NDArray[np.float32]) -> NDArray[np.float32]:
            sums = np.bincount(places.ravel(), (plays.data * assigned).ravel(), minlength=len(cells))
            return sums.astype(np.float32)

        assigned = (phi > 0) / np.maximum(np.count_nonzero(phi, axis=0), 1).astype(np.float32)
        for _ in range(_ROUNDS):
            assigned = (np.maximum(counts(assigned)[places] - assigned, 0) + prior) * phi
            assigned /= assigned.sum(axis=0)
        return csr_array((counts(assigned), np.divmod(cells, self._count)), shape=(plays.shape[0], self._count))

    def _state(self) -> dict[str, NDArray[Any]]:
        return self._arrays

    def _restore(self, state: dict[str, NDArray[Any]]) -> None:
        plays = state["plays"].astype(np.float64)
        # Number the groups of all kinds in one sequence. The last group of a kind, without tracks to recommend, is of
        # tracks whose group is unknown.
        groups, phi, prior, self._count = [], [], [], 0
        for codes, weight in zip(state["groups"], _PRIORS, strict=True):
            size = int(codes.max()) + 1
            is_known, group = codes != UNKNOWN, np.where(codes != UNKNOWN, codes, size)
            smoothed = plays + _SMOOTHING
            phi.append(np.where(is_known, smoothed / np.bincount(group, smoothed)[group], 0))
            prior.append(np.where(is_known, weight * np.bincount(group, plays)[group] / plays.sum(), 0))
            groups.append(self._count + group)
            self._count += size + (not is_known.all())
        self._groups, self._phi, self._prior = np.stack(groups), _float32(phi), _float32(prior)
        self._base = np.einsum("kt,kt->t", self._prior, self._phi)
        of_groups = self._phi[:-1]
        tracks = np.tile(np.arange(len(plays)), len(of_groups))
        self._shares = csr_array(
            (of_groups.ravel(), (self._groups[:-1].ravel(), tracks)), shape=(self._count - 1, len(plays))
        )
        self._arrays = state


def _pairs(artists: Codes, genres: Codes) -> Codes:
    """Number the pairs of artist and genre; UNKNOWN if both are unknown."""
    width = int(genres.max()) + 2
    return _numbered(np.where((artists == UNKNOWN) & (genres == UNKNOWN), UNKNOWN, (artists + 1) * width + genres + 1))


def _niches(plays: csr_array, pairs: Codes, plays_of_tracks: NDArray[np.float32]) -> Codes:
    """Number the niches: clusters of pairs with common users. All but the most played pairs are in one niche.

    The similarity of two pairs is the weighted number of their common users, divided by the root of the product of both
    numbers of users plus 3; a user counts 1 / (number of the user's pairs). The linkage is average.
    """
    has_pair = pairs != UNKNOWN
    size = int(pairs.max()) + 1
    most_played = np.argsort(-np.bincount(pairs[has_pair], plays_of_tracks[has_pair], size), kind="stable")
    clustered = np.sort(most_played[:_MAX_CLUSTERED])
    niche_of_pair = np.full(size + 1, len(clustered), np.int32)  # the niche of all other pairs
    niche_of_pair[-1] = UNKNOWN
    if len(clustered) > 1:
        place = np.full(size + 1, UNKNOWN)
        place[clustered] = np.arange(len(clustered))
        niche_of_pair[clustered] = _clusters(_played_pairs(plays, place[pairs], len(clustered)))
    return _numbered(niche_of_pair[pairs])


def _played_pairs(plays: csr_array, places: NDArray[np.intp], count: int) -> csr_array:
    """B: 1 for each pair that a user played, with rows divided by the root of their sum."""
    columns = places[plays.indices]
    rows = np.repeat(np.arange(plays.shape[0]), np.diff(plays.indptr))
    is_clustered = columns >= 0
    cells = np.unique(rows[is_clustered] * count + columns[is_clustered])
    cell_values = np.ones(len(cells), np.float32)
    played = csr_array((cell_values, np.divmod(cells, count)), shape=(plays.shape[0], count))
    return scaled(played, power(row_sums(played), -0.5), np.ones(count, np.float32))


def _clusters(played: csr_array) -> Codes:
    """Cluster the columns of B. Memory: 1.5 times the square of their number, in float64."""
    gram = (played.T @ played).toarray()
    lengths = np.sqrt(gram.diagonal() + np.float32(_SHRINKAGE))
    gram /= lengths
    gram /= lengths[:, None]
    distances = np.empty(len(gram) * (len(gram) - 1) // 2)
    begin = 0
    for row in range(len(gram) - 1):
        end = begin + len(gram) - 1 - row
        np.subtract(1, gram[row, row + 1 :], out=distances[begin:end])
        begin = end
    del gram
    from scipy.cluster.hierarchy import fcluster, linkage  # takes a tenth of a second, and only trainings use it

    tree = linkage(distances, "average")
    numbers: Codes = (fcluster(tree, max(1, len(lengths) // _PAIRS_PER_NICHE), "maxclust") - 1).astype(np.int32)
    return numbers


def _without_single_group(codes: Codes) -> Codes:
    """Forget a kind whose one group has every track: it is the group of all tracks, with another prior."""
    return codes if codes.any() else np.full_like(codes, UNKNOWN)


def _numbered(codes: NDArray[Any]) -> Codes:
    """Number the distinct codes from 0; UNKNOWN stays."""
    is_known = codes != UNKNOWN
    numbers = np.full(len(codes), UNKNOWN, np.int32)
    numbers[is_known] = np.unique(codes[is_known], return_inverse=True)[1]
    return numbers


def _float32(rows: list[NDArray[np.float64]]) -> NDArray[np.float32]:
    return np.stack(rows).astype(np.float32)
