"""Reproducible random numbers: the same seed and keys give the same draw on every machine."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]
Indices = NDArray[np.int32]

ID_SPACE = 99_999_989
"""A prime above the largest number of rows of an endpoint. Public ids are in 1..ID_SPACE."""


@dataclass(frozen=True)
class Period:
    """A period in microseconds since 1970, with the generator for its events."""

    seed: int
    rng: np.random.Generator
    start: int
    end: int


def scramble(keys: NDArray[np.integer], salt: int) -> NDArray[np.uint64]:
    """One 64-bit hash per key (splitmix64). The same key and salt give the same hash."""
    mixed = keys.astype(np.uint64)
    mixed += np.uint64((salt * 0x9E3779B97F4A7C15 + 0x632BE59BD9B4E019) & 0xFFFFFFFFFFFFFFFF)
    mixed ^= mixed >> np.uint64(30)
    mixed *= np.uint64(0xBF58476D1CE4E5B9)
    mixed ^= mixed >> np.uint64(27)
    mixed *= np.uint64(0x94D049BB133111EB)
    mixed ^= mixed >> np.uint64(31)
    return mixed


def choose(mixed: NDArray[np.uint64], part: int, options: int) -> list[int]:
    """One number below `options` per hash. Each `part` (0 to 4) of the hash gives another number."""
    chosen: list[int] = ((mixed >> np.uint64(12 * part)) % np.uint64(options)).tolist()
    return chosen


def public_ids(first: int, count: int, seed: int, kind: int) -> Indices:
    """Unique, random-looking ids of the rows first..first+count-1 of one kind."""
    step, offset = _step_and_offset(seed, kind)
    rows = np.arange(first, first + count, dtype=np.int64)
    return ((rows * step + offset) % ID_SPACE + 1).astype(np.int32)


def rows_of(ids: Integers, seed: int, kind: int) -> Indices:
    """The rows with these public ids (inverse of `public_ids`); ID_SPACE for an invalid id."""
    step, offset = _step_and_offset(seed, kind)
    possible = (ids >= 1) & (ids <= ID_SPACE)
    steps_taken = (np.where(possible, ids, 1) - 1 - offset) % ID_SPACE
    return np.where(possible, steps_taken * pow(step, -1, ID_SPACE) % ID_SPACE, ID_SPACE).astype(np.int32)


def _step_and_offset(seed: int, kind: int) -> tuple[int, int]:
    step, offset = (int(number) % (ID_SPACE - 2) + 1 for number in scramble(np.array([0, 1]), seed * 8 + kind))
    return step, offset


def instants(rng: np.random.Generator, low: Integers | int, high: Integers | int, count: int) -> Integers:
    """Random times in [low, high), in microseconds since 1970. They are odd, so that texts always show microseconds."""
    span = np.asarray(high) - np.asarray(low)
    drawn: Integers = np.asarray(low) + (rng.random(count) * span).astype(np.int64)
    return drawn | 1


def rounded(rng: np.random.Generator, expected: float) -> int:
    """A random integer with the mean `expected`."""
    return int(expected + rng.random())
