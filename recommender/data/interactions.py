"""Interactions: how often each user played each track. Every model learns from this matrix."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
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
_ATTRIBUTE_PREFIX = "labels."
_ROWS_AT_ONCE = 2**20


@dataclass(frozen=True, eq=False)
class Interactions:
    """A sparse matrix with one row per user and one column per track. A value is a number of plays above zero.

    `user_ids` and `track_ids` ascend; users and tracks without plays are allowed. `genres` is the favourite genre of
    each user, '' if unknown. `item_attributes` holds one code per track and kind (ARTIST, GENRE): tracks of one artist
    share a code from 0, and UNKNOWN marks a missing value. Codes are valid within one run only.
    """

    user_ids: Ids
    track_ids: Ids
    plays: csr_array
    genres: NDArray[np.str_]
    item_attributes: ItemAttributes = field(default_factory=dict)

    @classmethod
    def from_pairs(
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
        """Build interactions from one entry per user and track. Repeated pairs are added up.

        Without `plays`, each entry counts as one play; zero plays are no interaction. `known_users` and `catalogue` get
        a row or column even without plays. `genres` belong to `known_users`, `item_attributes` to `catalogue`. Raises
        InteractionsError when plays are negative or not finite.
        """
        user_column, track_column = _ids(users, "user"), _ids(tracks, "track")
        values = np.ones(len(user_column), np.float32) if plays is None else _numbers(plays)
        if not len(user_column) == len(track_column) == len(values):
            raise InteractionsError(
                f"{len(user_column)} users, {len(track_column)} tracks and {len(values)} plays are not the same number"
            )
        _refuse_impossible(values, user_column, track_column)
        named, described_tracks = _ids(known_users, "user"), _ids(catalogue, "track")
        user_ids, rows = _numbered(user_column, named)
        track_ids, columns = _numbered(track_column, described_tracks)
        matrix = _matrix(values.astype(np.float32), rows, columns, (len(user_ids), len(track_ids)))
        codes = {
            kind: _codes_of(track_ids, described_tracks, attribute)
            for kind, attribute in (item_attributes or {}).items()
        }
        return cls(user_ids, track_ids, matrix, _genres_of(user_ids, named, genres), codes)

    def __len__(self) -> int:
        return int(self.plays.nnz)

    def __getitem__(self, rows: slice) -> Self:
        """Return a contiguous slice of rows."""
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
        """The ids of users with at least one play."""
        played: NDArray[np.bool_] = np.diff(self.plays.indptr) > 0
        return self.user_ids[played]

    @property
    def users_per_track(self) -> NDArray[np.int64]:
        """The number of users with plays of each track."""
        counts = np.zeros(len(self.track_ids), np.int64)
        for part in in_parts(len(self)):
            counts += np.bincount(self.plays.indices[part], minlength=len(counts))
        return counts

    def user_rows(self, users: ArrayLike) -> NDArray[np.intp]:
        """The row of each user, -1 for an unknown user."""
        return positions_in(self.user_ids, _ids(users, "user"))

    def track_columns(self, tracks: ArrayLike) -> NDArray[np.intp]:
        """The column of each track, -1 for an unknown track."""
        return positions_in(self.track_ids, _ids(tracks, "track"))

    def select_users(self, users: ArrayLike) -> Self:
        """Return one row per user, in the given order. An unknown user has no plays; `user_ids` need not ascend."""
        selected_ids = _ids(users, "user").astype(np.int64)
        rows = self.user_rows(selected_ids)
        # Unknown users have the row -1: the empty row that is appended here.
        indptr = np.append(self.plays.indptr, self.plays.indptr[-1])
        with_empty_row = csr_array(
            (self.plays.data, self.plays.indices, indptr), shape=(len(self.user_ids) + 1, len(self.track_ids))
        )
        genres = np.zeros(len(rows), self.genres.dtype)
        genres[rows >= 0] = self.genres[rows[rows >= 0]]
        return replace(self, user_ids=selected_ids, plays=with_empty_row[rows], genres=genres)

    def select_tracks(self, track_ids: Ids) -> Self:
        """Return the same users with these tracks as columns. Plays of other tracks are dropped. `track_ids` ascend."""
        if np.array_equal(track_ids, self.track_ids):
            return self
        new_columns = positions_in(track_ids, self.track_ids).astype(np.int32)
        indices = np.empty_like(self.plays.indices)
        for part in in_parts(len(indices)):
            indices[part] = new_columns[self.plays.indices[part]]
        shape = (len(self.user_ids), len(track_ids))
        is_listed = indices >= 0
        data, indptr = self.plays.data, self.plays.indptr
        if is_listed.all():
            matrix = csr_array((data, indices, indptr), shape=shape)
        else:
            matrix = select_entries(data, indices, indptr, is_listed, shape)
        item_attributes = {
            kind: _codes_of(track_ids, self.track_ids, codes) for kind, codes in self.item_attributes.items()
        }
        return replace(self, track_ids=track_ids, plays=matrix, item_attributes=item_attributes)

    def with_item_attributes(self, catalogue: ArrayLike, item_attributes: Mapping[str, ArrayLike]) -> Self:
        """Return the same plays with additional columns for `catalogue`, and its item attributes."""
        ids = _ids(catalogue, "track")
        wider = self.select_tracks(np.union1d(self.track_ids, ids))
        codes = {kind: _codes_of(wider.track_ids, ids, attribute) for kind, attribute in item_attributes.items()}
        return replace(wider, item_attributes=codes)

    def save(self, path: Path) -> None:
        """Write the interactions to an .npz file."""
        item_attributes: dict[str, Any] = {
            _ATTRIBUTE_PREFIX + kind: codes for kind, codes in self.item_attributes.items()
        }
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
        """Read a file of `save`."""
        with np.load(path, allow_pickle=False) as file:
            parts: dict[str, NDArray[Any]] = dict(file)
        shape = (len(parts["user_ids"]), len(parts["track_ids"]))
        plays = csr_array((parts["data"], parts["indices"], parts["indptr"]), shape=shape)
        item_attributes = {
            name.removeprefix(_ATTRIBUTE_PREFIX): parts[name] for name in parts if name.startswith(_ATTRIBUTE_PREFIX)
        }
        return cls(parts["user_ids"], parts["track_ids"], plays, parts["genres"], item_attributes)


def in_parts(count: int) -> Iterator[slice]:
    """Slices of at most a million rows, so that temporary arrays stay small."""
    for begin in range(0, count, _ROWS_AT_ONCE):
        yield slice(begin, begin + _ROWS_AT_ONCE)


def positions_in(ids: Ids, searched: NDArray[np.integer[Any]]) -> NDArray[np.intp]:
    """The position of each searched id in `ids`, which ascend; -1 for a missing id."""
    if not len(ids):
        return np.full(len(searched), -1, np.intp)
    positions = np.minimum(np.searchsorted(ids, searched), len(ids) - 1)
    return np.where(ids[positions] == searched, positions, -1)


def select_entries(
    data: NDArray[np.float32],
    indices: NDArray[np.int32],
    indptr: NDArray[np.integer[Any]],
    selected: NDArray[np.bool_],
    shape: tuple[int, int],
) -> csr_array:
    """A matrix of the selected entries of another, in the same rows and order."""
    before = np.zeros(len(selected) + 1, indptr.dtype)
    np.cumsum(selected, out=before[1:])
    return csr_array((data[selected], indices[selected], before[indptr]), shape=shape)


def _ids(values: ArrayLike, entity: str) -> NDArray[np.integer[Any]]:
    """The ids as an array. An array of 32 or 64 bits keeps its type; other ids get 64 bits."""
    array = np.asarray(values)
    if array.size == 0:
        return np.empty(0, np.int64)
    if array.dtype.kind not in "iu" or (array.dtype == np.uint64 and array.max() > np.iinfo(np.int64).max):
        raise InteractionsError(f"{entity} ids must be integers from -2^63 to 2^63-1")
    return array if array.dtype in (np.int32, np.int64) else array.astype(np.int64)


def _numbers(plays: ArrayLike) -> NDArray[Any]:
    array = np.asarray(plays)
    return array if array.dtype.kind in "iuf" else np.asarray(plays, np.float64)


def _numbered(column: NDArray[np.integer[Any]], named: NDArray[np.integer[Any]]) -> tuple[Ids, NDArray[np.int32]]:
    """The distinct ids of a column and of `named`, ascending, and the position of each entry of the column."""
    is_ascending = bool((named[1:] > named[:-1]).all())  # as a catalogue usually is: sorting it takes most of the time
    ids = (named if is_ascending else np.unique(named)).astype(np.int64)
    positions = _positions_of_entries(ids, column)
    is_missing = positions < 0
    if is_missing.any():
        ids = np.union1d(ids, column[is_missing]).astype(np.int64)
        positions = _positions_of_entries(ids, column)
    return ids, positions


def _positions_of_entries(ids: Ids, column: NDArray[np.integer[Any]]) -> NDArray[np.int32]:
    positions = np.empty(len(column), np.int32)
    for part in in_parts(len(column)):
        positions[part] = positions_in(ids, column[part])
    return positions


def _matrix(
    values: NDArray[np.float32], rows: NDArray[np.int32], columns: NDArray[np.int32], shape: tuple[int, int]
) -> csr_array:
    """The matrix of the entries; repeated pairs are added up in their order. Entries by ascending row need no copy."""
    if (rows[1:] >= rows[:-1]).all():
        indptr = np.searchsorted(rows, np.arange(shape[0] + 1, dtype=np.int32))
        small = np.int32 if len(rows) <= np.iinfo(np.int32).max else np.int64
        matrix = csr_array((values, columns, indptr.astype(small)), shape=shape)
    else:
        matrix = csr_array((values, (rows, columns)), shape=shape)
    matrix.sum_duplicates()
    matrix.eliminate_zeros()
    return matrix


def _refuse_impossible(plays: NDArray[Any], users: NDArray[np.integer[Any]], tracks: NDArray[np.integer[Any]]) -> None:
    wrong = np.zeros(len(plays), bool)
    for part in in_parts(len(plays)):
        wrong[part] = ~((plays[part] >= 0) & (plays[part] <= np.float64(np.finfo(np.float32).max)))
    if wrong.any():
        first = int(np.argmax(wrong))
        raise InteractionsError(
            f"plays must be finite and not negative: {int(wrong.sum()):,} of {len(plays):,} are not, "
            f"the first is {plays[first]} (user {users[first]}, track {tracks[first]})"
        )


def _genres_of(user_ids: Ids, named: NDArray[np.integer[Any]], genres: ArrayLike | None) -> NDArray[np.str_]:
    if genres is None or not len(named):
        return np.zeros(len(user_ids), "<U1")
    named_genres = np.asarray(genres, np.str_)
    user_genres = np.zeros(len(user_ids), named_genres.dtype)
    user_genres[np.searchsorted(user_ids, named)] = named_genres
    return user_genres


def _codes_of(track_ids: Ids, described_tracks: NDArray[np.integer[Any]], codes: ArrayLike) -> NDArray[np.int32]:
    """The code of each of `track_ids`, from the codes of `described_tracks`; UNKNOWN for other tracks."""
    described_codes = np.asarray(codes, np.int32)
    if len(described_codes) != len(described_tracks):
        raise InteractionsError(
            f"{len(described_tracks)} tracks and {len(described_codes)} item attributes are not the same number"
        )
    track_codes = np.full(len(track_ids), UNKNOWN, np.int32)
    positions = positions_in(track_ids, described_tracks)
    track_codes[positions[positions >= 0]] = described_codes[positions >= 0]
    return track_codes
