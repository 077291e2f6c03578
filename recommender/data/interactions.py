"""Who played what, and how often: the one table that every model learns from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array

from core.errors import InteractionsError

Ids = NDArray[np.int64]
ItemAttributes = Mapping[str, NDArray[np.int32]]

ARTIST, GENRE = "artist", "genre"
UNKNOWN = -1
_LABELS = "labels."


@dataclass(frozen=True, eq=False)
class Interactions:
    """One row a user, one column a track; a value is how often the one played the other, above zero.

    `user_ids` and `track_ids` ascend, and may hold users and tracks without a play. `genres` is the favourite
    genre of each user, '' where it is not known. `item_attributes` holds a code from 0 of each track by kind, such as
    ARTIST and GENRE: tracks of one artist share a code, and UNKNOWN stands where nothing is known. Codes are valid
    within one run only.
    """

    user_ids: Ids
    track_ids: Ids
    plays: csr_array
    genres: NDArray[np.str_]
    item_attributes: ItemAttributes = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        users: ArrayLike,
        tracks: ArrayLike,
        plays: ArrayLike | None = None,
        *,
        known_users: ArrayLike = (),
        catalogue: ArrayLike = (),
        genres: ArrayLike | None = None,
        item_attributes: Mapping[str, ArrayLike] | None = None,
    ) -> Self:
        """From one entry per user and track (a pair that comes twice is added up); without `plays`, each counts one.

        `known_users` and `catalogue` are ids that get a row or column even without plays. `genres` belong to
        `known_users`, `item_attributes` to `catalogue`. Zero plays are no interaction. Raises InteractionsError when
        plays are negative or not finite.
        """
        user_column, track_column = _ids(users, "user"), _ids(tracks, "track")
        values = np.ones(len(user_column), np.float32) if plays is None else np.asarray(plays, np.float64)
        if not len(user_column) == len(track_column) == len(values):
            raise InteractionsError(
                f"{len(user_column)} users, {len(track_column)} tracks and {len(values)} plays are not the same number"
            )
        _refuse_impossible(values, user_column, track_column)
        named = _ids(known_users, "user")
        user_ids = np.union1d(user_column, named)
        described_tracks = _ids(catalogue, "track")
        track_ids = np.union1d(track_column, described_tracks)
        rows, columns = np.searchsorted(user_ids, user_column), np.searchsorted(track_ids, track_column)
        matrix = csr_array(
            (values.astype(np.float32), (rows.astype(np.int32), columns.astype(np.int32))),
            shape=(len(user_ids), len(track_ids)),
        )
        matrix.sum_duplicates()
        matrix.eliminate_zeros()
        codes = {kind: _codes_of(track_ids, described_tracks, given) for kind, given in (item_attributes or {}).items()}
        return cls(user_ids, track_ids, matrix, _genres_of(user_ids, named, genres), codes)

    def __len__(self) -> int:
        return int(self.plays.nnz)

    def __getitem__(self, rows: slice) -> Self:
        """These rows, which lie side by side."""
        begin, end, _ = rows.indices(len(self.user_ids))
        indptr = self.plays.indptr[begin : end + 1]
        entries = slice(indptr[0], indptr[-1])
        plays = csr_array(
            (self.plays.data[entries], self.plays.indices[entries], indptr - indptr[0]),
            shape=(end - begin, len(self.track_ids)),
        )
        return replace(self, user_ids=self.user_ids[begin:end], plays=plays, genres=self.genres[begin:end])

    @property
    def users_with_plays(self) -> Ids:
        """The ids of those who played anything."""
        played: NDArray[np.bool_] = np.diff(self.plays.indptr) > 0
        return self.user_ids[played]

    def rows_of(self, users: ArrayLike) -> NDArray[np.intp]:
        """The row of each of these users, -1 for one who is not here."""
        return _places(self.user_ids, _ids(users, "user"))

    def columns_of(self, tracks: ArrayLike) -> NDArray[np.intp]:
        """The column of each of these tracks, -1 for one that is not here."""
        return _places(self.track_ids, _ids(tracks, "track"))

    def of_users(self, users: ArrayLike) -> Self:
        """One row per user given, in their order; a user who is not here has no plays. `user_ids` may not ascend."""
        wanted = _ids(users, "user")
        rows = self.rows_of(wanted)
        # One more row, which is empty, for those who are not here.
        indptr = np.append(self.plays.indptr, self.plays.indptr[-1])
        with_nobody = csr_array(
            (self.plays.data, self.plays.indices, indptr), shape=(len(self.user_ids) + 1, len(self.track_ids))
        )
        genres = np.append(self.genres, "")
        return replace(self, user_ids=wanted, plays=with_nobody[rows], genres=genres[rows])

    def on_tracks(self, track_ids: Ids) -> Self:
        """The same users with these tracks as columns; plays of others are left out. `track_ids` ascend."""
        if np.array_equal(track_ids, self.track_ids):
            return self
        columns = _places(track_ids, self.track_ids)
        entries = self.plays.tocoo()
        to = columns[entries.coords[1]]
        kept = to >= 0
        matrix = csr_array(
            (entries.data[kept], (entries.coords[0][kept], to[kept].astype(np.int32))),
            shape=(len(self.user_ids), len(track_ids)),
        )
        matrix.sort_indices()
        item_attributes = {
            kind: _codes_of(track_ids, self.track_ids, codes) for kind, codes in self.item_attributes.items()
        }
        return replace(self, track_ids=track_ids, plays=matrix, item_attributes=item_attributes)

    def with_item_attributes(self, catalogue: ArrayLike, item_attributes: Mapping[str, ArrayLike]) -> Self:
        """The same plays, with columns for these tracks as well, and their item attributes."""
        ids = _ids(catalogue, "track")
        wider = self.on_tracks(np.union1d(self.track_ids, ids))
        codes = {kind: _codes_of(wider.track_ids, ids, given) for kind, given in item_attributes.items()}
        return replace(wider, item_attributes=codes)

    def save(self, path: Path) -> None:
        """Write it to a file, for another process."""
        item_attributes: dict[str, Any] = {_LABELS + kind: codes for kind, codes in self.item_attributes.items()}
        np.savez(
            path,
            user_ids=self.user_ids,
            track_ids=self.track_ids,
            genres=self.genres,
            data=self.plays.data,
            indices=self.plays.indices,
            indptr=self.plays.indptr,
            **item_attributes,
        )

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote."""
        with np.load(path, allow_pickle=False) as file:
            parts: dict[str, NDArray[Any]] = dict(file)
        shape = (len(parts["user_ids"]), len(parts["track_ids"]))
        plays = csr_array((parts["data"], parts["indices"], parts["indptr"]), shape=shape)
        item_attributes = {name.removeprefix(_LABELS): parts[name] for name in parts if name.startswith(_LABELS)}
        return cls(parts["user_ids"], parts["track_ids"], plays, parts["genres"], item_attributes)


def _ids(values: ArrayLike, what: str) -> Ids:
    array = np.asarray(values)
    if array.size == 0:
        return np.empty(0, np.int64)
    if array.dtype.kind not in "iu" or (array.dtype == np.uint64 and array.max() > np.iinfo(np.int64).max):
        raise InteractionsError(f"{what} ids must be integers from -2^63 to 2^63-1")
    return array.astype(np.int64)


def _refuse_impossible(plays: NDArray[Any], users: Ids, tracks: Ids) -> None:
    wrong = ~((plays >= 0) & (plays <= np.finfo(np.float32).max))
    if wrong.any():
        first = int(np.argmax(wrong))
        raise InteractionsError(
            f"plays must be finite and not negative: {int(wrong.sum()):,} of {len(plays):,} are not, "
            f"the first is {plays[first]} (user {users[first]}, track {tracks[first]})"
        )


def _places(ids: Ids, wanted: Ids) -> NDArray[np.intp]:
    """Where each wanted id stands in `ids`, which ascend; -1 where it does not."""
    if not len(ids):
        return np.full(len(wanted), -1, np.intp)
    places = np.minimum(np.searchsorted(ids, wanted), len(ids) - 1)
    return np.where(ids[places] == wanted, places, -1)


def _genres_of(user_ids: Ids, named: Ids, genres: ArrayLike | None) -> NDArray[np.str_]:
    if genres is None or not len(named):
        return np.zeros(len(user_ids), "<U1")
    given = np.asarray(genres, np.str_)
    found = np.zeros(len(user_ids), given.dtype)
    found[np.searchsorted(user_ids, named)] = given
    return found


def _codes_of(track_ids: Ids, described_tracks: Ids, codes: ArrayLike) -> NDArray[np.int32]:
    """The code of each of `track_ids` (which ascend), where those of the tracks `described_tracks` are given."""
    given = np.asarray(codes, np.int32)
    if len(given) != len(described_tracks):
        raise InteractionsError(
            f"{len(described_tracks)} tracks and {len(given)} item attributes are not the same number"
        )
    found = np.full(len(track_ids), UNKNOWN, np.int32)
    places = _places(track_ids, described_tracks)
    found[places[places >= 0]] = given[places >= 0]
    return found
