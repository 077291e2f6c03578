"""The tracks, and the pools that plays are drawn from."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mock_server.randomness import Indices, Integers, Period, instants, public_ids
from mock_server.word_lists import GENRES

TRACKS_PER_ARTIST = 8
ARTISTS_PER_SCENE = 6
OLDER_SHARE = 0.25
"""Share of tracks and users whose created_at is later than their updated_at, as on the real server."""


@dataclass(frozen=True)
class Tracks:
    """One entry per track, removed tracks included. Times are microseconds since 1970."""

    id: Indices
    artist: Indices
    popularity: NDArray[np.float64]
    created: Integers
    updated: Integers
    version: Indices
    listed: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.id)


def draw_tracks(first: int, count: int, period: Period) -> Tracks:
    """`count` new tracks with power-law popularity, created within the period, most of them early in it."""
    artists = max(1, (first + count) // TRACKS_PER_ARTIST)
    rng = period.rng
    created = (period.start + (rng.random(count) ** 3 * (period.end - period.start)).astype(np.int64)) | 1
    return Tracks(
        id=public_ids(first, count, period.seed, kind=1),
        artist=(rng.random(count) ** 1.5 * artists).astype(np.int32),
        popularity=np.minimum((1 - rng.random(count)) ** -0.65, 300.0),
        created=created,
        updated=draw_updates(created, period),
        version=np.zeros(count, np.int32),
        listed=np.ones(count, np.bool_),
    )


def draw_hits(tracks: Tracks, count: int, share: float, period: Period) -> Tracks:
    """`count` new tracks that get `share` (below 1) of the popularity of all listed tracks.

    Each of the most popular artists gets one new track. It takes the same share of its artist's popularity as all new
    tracks take of the whole catalogue, so that every pool shifts alike.
    """
    popularity = np.bincount(tracks.artist, weights=np.where(tracks.listed, tracks.popularity, 0.0))
    artists = np.argsort(-popularity, kind="stable")[:count].astype(np.int32)
    total = popularity.sum() * share / (1 - share)
    hits = popularity[artists] * total / popularity[artists].sum()
    return replace(draw_tracks(len(tracks), len(artists), period), artist=artists, popularity=hits)


def draw_updates(created: Integers, period: Period) -> Integers:
    """The time each row was last changed: after its creation, but before it for OLDER_SHARE of the rows."""
    count = len(created)
    is_earlier = period.rng.random(count) < OLDER_SHARE
    low = np.where(is_earlier, period.start, created)
    high = np.where(is_earlier, created, period.end)
    return instants(period.rng, low, high, count)


class TrackPools:
    """Overlapping sets of tracks (pools). A play draws one track of a pool, weighted by popularity.

    Pool 0 holds every track. Then comes one pool per genre, per scene (a niche within a genre) and per artist.
    Tracks are sorted by genre, scene and artist, so every pool is a contiguous range of the cumulative popularity.
    A draw from any pool is one binary search.
    """

    def __init__(self, tracks: Tracks, scenes: int) -> None:
        scene = tracks.artist % scenes
        genre = scene % len(GENRES)
        self.order = np.lexsort((tracks.artist, scene, genre)).astype(np.int32)
        self.weight = np.where(tracks.listed, tracks.popularity, 0.0)[self.order]
        self.cumulative = np.concatenate([[0.0], np.cumsum(self.weight)])
        self.artist_of = tracks.artist
        self.scenes = scenes
        artists = int(tracks.artist.max(initial=0)) + 1
        ranges = [
            np.array([[0, len(tracks)]]),
            _ranges(genre[self.order], len(GENRES)),
            _ranges(scene[self.order], scenes),
            _ranges(tracks.artist[self.order], artists),
        ]
        self.first, self.last = np.concatenate(ranges).T.astype(np.int64)
        self._low, self._high = self._drawable()

    def _drawable(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The range of cumulative popularity of each pool. An empty pool is replaced by all tracks."""
        low, high = self.cumulative[self.first], self.cumulative[self.last]
        empty = high <= low
        return np.where(empty, 0.0, low), np.where(empty, self.cumulative[-1], high)

    def genre_of(self, tracks: Indices) -> Indices:
        """The true genre of each track, as an index into GENRES."""
        return (self.artist_of[tracks] % self.scenes % len(GENRES)).astype(np.int32)

    def genre_pool(self, genre: Indices) -> Indices:
        """The pool of each genre."""
        return (1 + genre).astype(np.int32)

    def scene_pool(self, tracks: Indices) -> Indices:
        """The pool of each track's scene."""
        return (1 + len(GENRES) + self.artist_of[tracks] % self.scenes).astype(np.int32)

    def artist_pool(self, tracks: Indices) -> Indices:
        """The pool of each track's artist."""
        return (1 + len(GENRES) + self.scenes + self.artist_of[tracks]).astype(np.int32)

    def draw(self, pools: Indices, rng: np.random.Generator) -> Indices:
        """One track (a row of the catalogue) for each pool, drawn by popularity; same shape as `pools`."""
        low = self._low[pools]
        point = low + rng.random(pools.shape) * (self._high[pools] - low)
        position = np.searchsorted(self.cumulative, point, side="right") - 1
        return self.order[np.minimum(position, len(self.order) - 1)]

    def probabilities(self, pool: int) -> tuple[slice, NDArray[np.float64]]:
        """The slice of `order` that a pool covers, and the probability of each of its tracks."""
        total = self.cumulative[self.last[pool]] - self.cumulative[self.first[pool]]
        positions = slice(self.first[pool], self.last[pool]) if total > 0 else slice(0, len(self.order))
        weight = self.weight[positions]
        return positions, weight / max(weight.sum(), 1e-300)


def scenes_for(tracks: int) -> int:
    """The number of scenes in a catalogue of this size."""
    return max(1, tracks // TRACKS_PER_ARTIST // ARTISTS_PER_SCENE)


def _ranges(keys: Indices, count: int) -> Integers:
    """First and last position (exclusive) of each key 0..count-1. Equal keys are adjacent in `keys`."""
    ranges = np.zeros((count, 2), np.int64)
    starts = np.flatnonzero(np.diff(keys, prepend=-1))
    ranges[keys[starts], 0] = starts
    ranges[keys[starts], 1] = np.append(starts[1:], len(keys))
    return ranges
