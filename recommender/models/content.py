"""Popularity within a user's own artists and genres: the one model that can name a track nobody played yet."""

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
    """What others play most of the artists and genres that a user plays.

    Tracks stand on shelves: one of their artist, one of their genre, and one that holds them all. The score of a track
    is the sum over its shelves of (the user's taste for the shelf) to the `power` x (the track's share of the
    plays of the shelf, where plays are log(1 + plays) of each user, and `smoothing` is added to every track).

    A taste is the share of a user's plays, counted as they are or as log(1 + plays), that is put down to a shelf.
    At first every play is put down to each of its shelves; then, in so many `rounds`, it is divided among them by how
    likely each would have brought it, taste x share: plays of an artist's tracks all over the genres tell of the
    artist. This is folding a user into a mixture whose topics are known (Hofmann 1999).

    It needs item attributes to learn, and keeps codes of shelves and shares; it ignores those of later histories.
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
            raise ModelError(f"plays are counted as {' or '.join(get_args(Counting))}, not as {counting!r}")
        if not smoothing > 0:
            raise ModelError("smoothing must be above 0")
        self._kinds: list[_Kind] = []

    def _learn(self, interactions: Interactions) -> None:
        tracks = interactions.track_ids.shape
        nothing = {kind: np.full(tracks, UNKNOWN, np.int32) for kind in (ARTIST, GENRE)}
        item_attributes = {**nothing, **interactions.item_attributes, "everyone": np.zeros(tracks, np.int32)}
        if not any((item_attributes[kind] != UNKNOWN).any() for kind in (ARTIST, GENRE)):
            raise ModelError(f"{self.name} needs artists or genres of tracks")
        plays = column_sums(weighted(interactions.plays, "log1p")) + np.float32(self.params["smoothing"])
        self._kinds = [_Kind.of(item_attributes[kind], plays) for kind in _KINDS]

    def _score(self, users: Interactions) -> Scores:
        played = _Played(users, self.params["counting"])
        tastes = [kind.plays_of(played, played.shares) for kind in self._kinds]
        for _ in range(self.params["rounds"]):
            likely = [kind.likely(played, taste) for kind, taste in zip(self._kinds, tastes, strict=True)]
            one = played.shares / np.sum(likely, axis=0)
            tastes = [kind.plays_of(played, one * some) for kind, some in zip(self._kinds, likely, strict=True)]
        scores: Scores = np.zeros(users.plays.shape, np.float32)
        for kind, taste in zip(self._kinds, tastes, strict=True):
            kind.add_to(scores, taste ** np.float32(self.params["power"]))
        return scores

    def _state(self) -> dict[str, NDArray[Any]]:
        return {
            f"{name}.{what}": array
            for name, kind in zip(_KINDS, self._kinds, strict=False)  # none before it learned
            for what, array in (("shelves", kind.shelves.astype(np.int32)), ("shares", kind.shares))
        }

    def _restore(self, state: dict[str, NDArray[Any]]) -> None:
        self._kinds = [_Kind(state[f"{name}.shelves"], state[f"{name}.shares"]) for name in _KINDS]


class _Played:
    """The plays of some users one by one: whose (a row), of what (a column), and which share of all of theirs."""

    def __init__(self, users: Interactions, counting: Counting) -> None:
        plays = users.plays if counting == "plays" else weighted(users.plays, "log1p")
        self.count: int = plays.shape[0]
        self.rows = np.repeat(np.arange(self.count), np.diff(plays.indptr))
        self.columns = plays.indices
        self.shares = plays.data * power(row_sums(plays), -1.0)[self.rows]


class _Kind:
    """Shelves of one kind: where each track stands, and its share of the plays there; the last is for no shelf."""

    def __init__(self, shelves: NDArray[Any], shares: NDArray[np.float32]) -> None:
        self.shelves = shelves.astype(np.intp)  # which numpy would else make of it for every block
        self.shares = shares
        self._count = int(shelves.max()) + 1

    @classmethod
    def of(cls, codes: NDArray[np.int32], plays: NDArray[np.float32]) -> _Kind:
        """From the label of each track, or UNKNOWN, and its plays, which are above 0."""
        known = codes != UNKNOWN
        item_attributes, numbers = np.unique(codes[known], return_inverse=True)
        shelves = np.full(len(codes), len(item_attributes))
        shelves[known] = numbers
        of_shelves = np.bincount(shelves, weights=plays).astype(np.float32)
        return cls(shelves, np.where(known, plays / of_shelves[shelves], np.float32(0)))

    def plays_of(self, played: _Played, amounts: NDArray[np.float32]) -> Scores:
        """Users x shelves: the sum of these amounts, one of each play."""
        cells = played.rows * self._count + self.shelves[played.columns]
        sums = np.bincount(cells, weights=amounts, minlength=played.count * self._count)
        return sums.astype(np.float32).reshape(played.count, self._count)

    def likely(self, played: _Played, tastes: Scores) -> NDArray[np.float32]:
        """How likely each play is brought by its shelf."""
        chances: NDArray[np.float32] = tastes[played.rows, self.shelves[played.columns]] * self.shares[played.columns]
        return chances

    def add_to(self, scores: Scores, tastes: Scores) -> None:
        """What these tastes say of every track."""
        said = tastes * self.shares if self._count == 1 else tastes[:, self.shelves] * self.shares
        scores += said
