"""Popularity within a user's artists and genres. This model can recommend a track that nobody has played yet."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from core.errors import ModelError
from recommender.data.interactions import ARTIST, GENRE, UNKNOWN, Interactions
from recommender.models.base import Recommender, Scores
from recommender.models.scaling import column_sums, power, row_sums, weighted

Counting = Literal["plays", "log1p"]

_KINDS = (ARTIST, GENRE, "everyone")


class ContentPopularity(Recommender):
    """Recommend what others play most of the artists and genres that a user plays.

    A track belongs to three groups: the tracks of its artist, the tracks of its genre, and all tracks. The score of a
    track is the sum over its groups of (the user's affinity to the group) to the `power` x (the track's share of the
    plays of the group). Plays are log(1 + plays) of each user; `smoothing` is added to every track.

    An affinity is the share of a user's plays (raw, or log(1 + plays)) that is assigned to a group. At first each
    play is assigned to all its groups. Then each of the `rounds` divides every play among its groups in proportion to
    affinity x share, so that plays of one artist across many genres count for the artist. This folds a user into a
    mixture model with known topics (Hofmann 1999).

    Fitting needs item attributes. The model keeps the group of each track, and ignores attributes of later histories.
    """

    name: ClassVar[str] = "content"

    def __init__(
        self,
        power: float = 1.0,  # docs/benchmarks.md ("Recommending"): chosen in three of four worlds, 1.5 in the other
        rounds: int = 1,  # docs/benchmarks.md ("Recommending"): chosen in one of four worlds, 2 in the others
        smoothing: float = 2.0,  # untuned: no experiment is on record
        counting: Counting = "plays",  # docs/benchmarks.md ("Recommending"): never replaced by "log1p"
    ) -> None:
        super().__init__(power=power, rounds=rounds, smoothing=smoothing, counting=counting)
        if counting not in get_args(Counting):
            raise ModelError(f"counting must be {' or '.join(get_args(Counting))}, not {counting!r}")
        if not smoothing > 0:
            raise ModelError("smoothing must be above 0")
        self._groupings: list[_Grouping] = []

    def _fit(self, interactions: Interactions) -> None:
        tracks = interactions.track_ids.shape
        unknown = {kind: np.full(tracks, UNKNOWN, np.int32) for kind in (ARTIST, GENRE)}
        item_attributes = {**unknown, **interactions.item_attributes, "everyone": np.zeros(tracks, np.int32)}
        if not any((item_attributes[kind] != UNKNOWN).any() for kind in (ARTIST, GENRE)):
            raise ModelError(f"{self.name} needs artists or genres of tracks")
        plays = column_sums(weighted(interactions.plays, "log1p")) + np.float32(self.params["smoothing"])
        self._groupings = [_Grouping.from_codes(item_attributes[kind], plays) for kind in _KINDS]

    def _score(self, users: Interactions) -> Scores:
        played = _PlayedPairs(users, self.params["counting"])
        groupings = self._groupings
        affinities = [grouping.sum_by_group(played, played.shares) for grouping in groupings]
        for _ in range(self.params["rounds"]):
            weights = [
                grouping.play_weights(played, affinity)
                for grouping, affinity in zip(groupings, affinities, strict=True)
            ]
            scale = played.shares / np.sum(weights, axis=0)
            affinities = [
                grouping.sum_by_group(played, scale * weight)
                for grouping, weight in zip(groupings, weights, strict=True)
            ]
        scores: Scores = np.zeros(users.plays.shape, np.float32)
        for grouping, affinity in zip(groupings, affinities, strict=True):
            grouping.add_scores(scores, affinity ** np.float32(self.params["power"]))
        return scores

    def _state(self) -> dict[str, NDArray[Any]]:
        return {
            f"{name}.{part}": array
            for name, grouping in zip(_KINDS, self._groupings, strict=False)  # empty before fitting
            for part, array in (("shelves", grouping.groups.astype(np.int32)), ("shares", grouping.shares))
        }

    def _restore(self, state: dict[str, NDArray[Any]]) -> None:
        self._groupings = [_Grouping(state[f"{name}.shelves"], state[f"{name}.shares"]) for name in _KINDS]


class _PlayedPairs:
    """The played pairs of some users: row, column, and share of the user's plays."""

    def __init__(self, users: Interactions, counting: Counting) -> None:
        plays = users.plays if counting == "plays" else weighted(users.plays, "log1p")
        self.count: int = plays.shape[0]
        self.rows = np.repeat(np.arange(self.count), np.diff(plays.indptr))
        self.columns = plays.indices
        self.shares = plays.data * power(row_sums(plays), -1.0)[self.rows]


class _Grouping:
    """The groups of one kind: the group of each track, and its share of the plays there; the last group is unknown."""

    def __init__(self, groups: NDArray[Any], shares: NDArray[np.float32]) -> None:
        self.groups = groups.astype(np.intp)  # convert once, not for every block
        self.shares = shares
        self._count = int(groups.max()) + 1

    @classmethod
    def from_codes(cls, codes: NDArray[np.int32], plays: NDArray[np.float32]) -> _Grouping:
        """Group tracks by their attribute code, or UNKNOWN. The plays of each track are above 0."""
        has_code = codes != UNKNOWN
        distinct_codes, numbers = np.unique(codes[has_code], return_inverse=True)
        groups = np.full(len(codes), len(distinct_codes))
        groups[has_code] = numbers
        group_plays = np.bincount(groups, weights=plays).astype(np.float32)
        return cls(groups, np.where(has_code, plays / group_plays[groups], np.float32(0)))

    def sum_by_group(self, played: _PlayedPairs, amounts: NDArray[np.float32]) -> Scores:
        """Sum one amount per play, by user and group."""
        cells = played.rows * self._count + self.groups[played.columns]
        sums = np.bincount(cells, weights=amounts, minlength=played.count * self._count)
        return sums.astype(np.float32).reshape(played.count, self._count)

    def play_weights(self, played: _PlayedPairs, affinities: Scores) -> NDArray[np.float32]:
        """Affinity x share of each play."""
        weights: NDArray[np.float32] = (
            affinities[played.rows, self.groups[played.columns]] * self.shares[played.columns]
        )
        return weights

    def add_scores(self, scores: Scores, affinities: Scores) -> None:
        """Add affinity x share of every track to the scores."""
        scores += (affinities if self._count == 1 else affinities[:, self.groups]) * self.shares
