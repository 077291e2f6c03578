"""The share of useful answers of a day, which neither one API key nor answers about one track can move.

Every user counts once: with the mean over the tracks that they answered about. A key counts at most twice the
users it usually has, a new one at most a fiftieth of what is usual for all; a track at most a fiftieth of all
others together, or as much as the median track. And of a key or a track with less than half of the weight, what is told
is judged without it when that is, beyond chance, closer to what is usual.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

FEEDBACK_COLUMNS: Mapping[str, pl.DataType] = {
    **{"user_id": pl.Int64(), "track_id": pl.Int64(), "key_id": pl.String()},
    **{"useful": pl.Int64(), "usual": pl.Float64(), "publication_id": pl.Int64()},
}
_TIMES_THE_USUAL = 2.0
# Of a share s, that moves at most max(s, 1 - s) / 51: less than 0.02, upwards and downwards.
_SHARE_OF_A_NEW_KEY = 0.02
_SHARE_OF_A_TRACK = 0.02
# With half of the weight or more, it is not the odd one out.
_MOST_LEFT_OUT = 0.5
# Of fewer users, what is left says nothing.
_FEWEST_LEFT = 20
# The 97.5 % point of the standard normal distribution: 95 % of what chance does lies within.
STANDARD_ERRORS = 1.959963984540054


@dataclass(frozen=True)
class Usefulness:
    """The share of useful answers, its 95 % bounds, and what was left out ('': nothing).

    `effective_users` is the effective sample size: (sum w)^2 / sum w^2 (Kish 1965).
    """

    share: float
    lower: float
    upper: float
    effective_users: int
    left_out: str = ""


def share_of_useful(answers: pl.DataFrame, usual: float | None) -> Usefulness | None:
    """The share of one day's answers, with columns as in FEEDBACK_COLUMNS; None without any.

    `usual` is the share so far, None when nothing is known yet.
    """
    if answers.is_empty():
        return None
    weights = _weights(answers)
    best = _share(answers, weights)
    if usual is None:
        return best
    for column, name in (("key_id", "key"), ("track_id", "track")):
        share = _without_the_oddest(answers, weights, column, name, usual)
        if share is None or best.lower <= share.share <= best.upper:
            continue  # by so much, chance alone may have moved it
        if abs(share.share - usual) < abs(best.share - usual):
            best = share
    return best


def _weights(answers: pl.DataFrame) -> NDArray[np.float64]:
    """Of each answer: those of a user sum to one, or less where a key or a track has more than it may."""
    through = ("user_id", "key_id")
    # Alone in each key: what a user says, or is said to say, through another takes nothing from it yet.
    tracks = answers.select(pl.col("track_id").n_unique().over(through)).to_series().to_numpy()
    about_it = answers.select(pl.len().over(*through, "track_id")).to_series().to_numpy()
    weights = _of_keys(answers, 1.0 / (tracks * about_it.astype(np.float64)))
    _, user_index = np.unique(answers["user_id"].to_numpy(), return_inverse=True)
    return _of_tracks(answers, weights / np.maximum(1.0, np.bincount(user_index, weights))[user_index])


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


def _without_the_oddest(
    answers: pl.DataFrame, weights: NDArray[np.float64], column: str, name: str, usual: float
) -> Usefulness | None:
    """The share without that key, or without that track, without which it is closest to what is usual."""
    values, group = np.unique(answers[column].to_numpy(), return_inverse=True)
    weight = np.bincount(group, weights)
    useful = np.bincount(group, weights * answers["useful"].to_numpy())
    users_left = answers["user_id"].n_unique() - _users_of_one_group(answers, group)
    may_go = np.flatnonzero((weight < _MOST_LEFT_OUT * weight.sum()) & (users_left >= _FEWEST_LEFT))
    if not len(may_go):
        return None
    shares = (useful.sum() - useful[may_go]) / (weight.sum() - weight[may_go])
    oddest = may_go[np.argmin(np.abs(shares - usual))]
    left_out = f"the answers of {name} {values[oddest]}, {weight[oddest] / weight.sum():.0%} of all"
    return _share(answers, np.where(group == oddest, 0.0, weights), left_out)


def _users_of_one_group(answers: pl.DataFrame, group: NDArray[np.int64]) -> NDArray[np.int64]:
    """Of each group, how many users answered in no other."""
    of = answers.select("user_id").with_columns(pl.Series("group", group))
    alone = of.group_by("user_id").agg(pl.col("group").first(), pl.col("group").n_unique().alias("groups"))
    return np.bincount(alone.filter(pl.col("groups") == 1)["group"].to_numpy(), minlength=int(group.max()) + 1)


def _share(answers: pl.DataFrame, weights: NDArray[np.float64], left_out: str = "") -> Usefulness:
    """The weighted mean over users, with the bounds of a weighted mean whose weights are given."""
    users, user_index = np.unique(answers["user_id"].to_numpy(), return_inverse=True)
    weight = np.bincount(user_index, weights, len(users))
    useful = np.bincount(user_index, weights * answers["useful"].to_numpy(), len(users))
    heard = weight > 0
    weight, value = weight[heard], useful[heard] / weight[heard]
    share = float(np.average(value, weights=weight))
    error = float(np.sqrt(np.sum((weight * (value - share)) ** 2)) / weight.sum())
    reach = STANDARD_ERRORS * error
    # Where many hardly count, they tell as much as so many would who all count the same.
    effective_users = round(weight.sum() ** 2 / np.sum(weight**2))
    return Usefulness(share, max(0.0, share - reach), min(1.0, share + reach), effective_users, left_out)
