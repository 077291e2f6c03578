"""The share of useful answers of a day, which neither one API key nor answers about one track can move.

Every listener counts once: with the mean of their answers. A key counts at most twice the listeners it usually has, a
new one at most a tenth of what is usual for all; a track at most a tenth of all others together. And of a key or a
track with less than half of the weight, what is told is judged without it when that lies closer to what is usual.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

ANSWERS: Mapping[str, pl.DataType] = {
    **{"user_id": pl.Int64(), "track_id": pl.Int64(), "key_id": pl.String()},
    **{"useful": pl.Int64(), "usual": pl.Float64(), "publication_id": pl.Int64()},
}
_TIMES_THE_USUAL = 2.0
_SHARE_OF_A_NEW_KEY = 0.1
_SHARE_OF_A_TRACK = 0.1
# With half of the weight or more, it is not the odd one out.
_MOST_LEFT_OUT = 0.5
# Of fewer listeners, what is left says nothing.
_FEWEST_LEFT = 20
_BOUNDS = 1.959963984540054  # the 97.5 % point of the standard normal distribution


@dataclass(frozen=True)
class Usefulness:
    """The share of useful answers, its 95 % bounds, of how many listeners, and what was left out ('': nothing)."""

    share: float
    lower: float
    upper: float
    listeners: int
    left_out: str = ""


def share_of_useful(answers: pl.DataFrame, usual: float | None) -> Usefulness | None:
    """The share of one day's answers, with columns as in ANSWERS; None without any.

    `usual` is the share so far, None when nothing is known yet.
    """
    if answers.is_empty():
        return None
    weights = _weights(answers)
    best = _share(answers, weights)
    if usual is None:
        return best
    for left_out, rest in _without_one(answers, weights):
        share = _share(answers, rest, left_out)
        if abs(share.share - usual) < abs(best.share - usual):
            best = share
    return best


def _weights(answers: pl.DataFrame) -> NDArray[np.float64]:
    """Of each answer: those of a listener sum to one, or less where a key or a track has more than it may."""
    a_listener = 1.0 / answers.select(pl.len().over("user_id")).to_series().to_numpy()
    return _of_tracks(answers, _of_keys(answers, a_listener.astype(np.float64)))


def _of_keys(answers: pl.DataFrame, weights: NDArray[np.float64]) -> NDArray[np.float64]:
    keys, key_of = np.unique(answers["key_id"].to_numpy(), return_inverse=True)
    usual = np.zeros(len(keys))
    usual[key_of] = answers["usual"].to_numpy()
    if not usual.any():
        return weights  # the first weeks: nobody knows what is usual
    allowed = np.maximum(_TIMES_THE_USUAL * usual, _SHARE_OF_A_NEW_KEY * usual.sum())
    limits = np.minimum(1.0, allowed / np.bincount(key_of, weights))
    return np.asarray(weights * limits[key_of], np.float64)


def _of_tracks(answers: pl.DataFrame, weights: NDArray[np.float64]) -> NDArray[np.float64]:
    _, track_of = np.unique(answers["track_id"].to_numpy(), return_inverse=True)
    each = np.bincount(track_of, weights)
    allowed = np.maximum(_SHARE_OF_A_TRACK * (each.sum() - each), np.median(each))
    return np.asarray(weights * np.minimum(1.0, allowed / each)[track_of], np.float64)


def _without_one(answers: pl.DataFrame, weights: NDArray[np.float64]) -> Iterator[tuple[str, NDArray[np.float64]]]:
    """What is left of the weights without each key, and without each track, that may be left out."""
    for column, name in (("key_id", "key"), ("track_id", "track")):
        values, group = np.unique(answers[column].to_numpy(), return_inverse=True)
        shares = np.bincount(group, weights) / weights.sum()
        for number in np.flatnonzero(shares < _MOST_LEFT_OUT):
            rest = np.where(group == number, 0.0, weights)
            if _listeners(answers, rest) >= _FEWEST_LEFT:
                yield f"the answers of {name} {values[number]}, {shares[number]:.0%} of all", rest


def _listeners(answers: pl.DataFrame, weights: NDArray[np.float64]) -> int:
    return len(np.unique(answers["user_id"].to_numpy()[weights > 0]))


def _share(answers: pl.DataFrame, weights: NDArray[np.float64], left_out: str = "") -> Usefulness:
    """The weighted mean over listeners, with the bounds of a weighted mean whose weights are given."""
    users, listener = np.unique(answers["user_id"].to_numpy(), return_inverse=True)
    weight = np.bincount(listener, weights, len(users))
    useful = np.bincount(listener, weights * answers["useful"].to_numpy(), len(users))
    heard = weight > 0
    weight, value = weight[heard], useful[heard] / weight[heard]
    share = float(np.average(value, weights=weight))
    error = float(np.sqrt(np.sum((weight * (value - share)) ** 2)) / weight.sum())
    reach = _BOUNDS * error
    return Usefulness(share, max(0.0, share - reach), min(1.0, share + reach), int(heard.sum()), left_out)
