"""The share of useful feedback of a day, robust against one API key and against feedback about one track.

Each user counts once, with the mean over their tracks. A key counts at most twice its usual users; a new key counts at
most a fiftieth of the usual users of all keys. A track counts at most a fiftieth of all other tracks, or as much as the
median track. A key or track with less than half of the weight is excluded if the share without it is closer to the
usual share, beyond chance.
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
# This moves a share s by at most max(s, 1 - s) / 51, which is less than 0.02.
_SHARE_OF_A_NEW_KEY = 0.02
_SHARE_OF_A_TRACK = 0.02
# A key or track with half of the weight or more is not an outlier.
_MAX_EXCLUDED_WEIGHT = 0.5
# With fewer remaining users, the share is not reliable.
_MIN_REMAINING_USERS = 20
# The 97.5 % quantile of the standard normal distribution, for two-sided 95 % bounds.
STANDARD_ERRORS = 1.959963984540054


@dataclass(frozen=True)
class Usefulness:
    """The share of useful feedback, its 95 % bounds, and the excluded key or track ('': none).

    `effective_users` is the effective sample size: (sum w)^2 / sum w^2 (Kish 1965).
    """

    share: float
    lower: float
    upper: float
    effective_users: int
    left_out: str = ""


def share_of_useful(answers: pl.DataFrame, usual: float | None) -> Usefulness | None:
    """The useful share of one day's feedback, with columns as in FEEDBACK_COLUMNS; None without feedback.

    `usual` is the share of earlier days, None if unknown.
    """
    if answers.is_empty():
        return None
    weights = _weights(answers)
    best = _share(answers, weights)
    if usual is None:
        return best
    for column, name in (("key_id", "key"), ("track_id", "track")):
        share = _without_outlier(answers, weights, column, name, usual)
        if share is None or best.lower <= share.share <= best.upper:
            continue  # the difference may be chance
        if abs(share.share - usual) < abs(best.share - usual):
            best = share
    return best


def _weights(answers: pl.DataFrame) -> NDArray[np.float64]:
    """The weight of each answer. The weights of a user sum to one, or less if a key or track exceeds its limit."""
    through = ("user_id", "key_id")
    # Weigh within each key first, so that answers through another key take no weight away.
    tracks = answers.select(pl.col("track_id").n_unique().over(through)).to_series().to_numpy()
    answers_per_track = answers.select(pl.len().over(*through, "track_id")).to_series().to_numpy()
    weights = _limit_keys(answers, 1.0 / (tracks * answers_per_track.astype(np.float64)))
    _, user_index = np.unique(answers["user_id"].to_numpy(), return_inverse=True)
    return _limit_tracks(answers, weights / np.maximum(1.0, np.bincount(user_index, weights))[user_index])


def _limit_keys(answers: pl.DataFrame, weights: NDArray[np.float64]) -> NDArray[np.float64]:
    keys, key_index = np.unique(answers["key_id"].to_numpy(), return_inverse=True)
    usual = np.zeros(len(keys))
    usual[key_index] = answers["usual"].to_numpy()
    if not usual.any():
        return weights  # the first weeks, without usual numbers
    allowed = np.maximum(_TIMES_THE_USUAL * usual, _SHARE_OF_A_NEW_KEY * usual.sum())
    limits = np.minimum(1.0, allowed / np.bincount(key_index, weights))
    return np.asarray(weights * limits[key_index], np.float64)


def _limit_tracks(answers: pl.DataFrame, weights: NDArray[np.float64]) -> NDArray[np.float64]:
    _, track_index = np.unique(answers["track_id"].to_numpy(), return_inverse=True)
    track_weights = np.bincount(track_index, weights)
    other_weights = track_weights.sum() - track_weights
    allowed = np.maximum(_SHARE_OF_A_TRACK * other_weights, np.median(track_weights))
    return np.asarray(weights * np.minimum(1.0, allowed / track_weights)[track_index], np.float64)


def _without_outlier(
    answers: pl.DataFrame, weights: NDArray[np.float64], column: str, name: str, usual: float
) -> Usefulness | None:
    """The share without the one key or track whose exclusion brings it closest to the usual share."""
    values, group = np.unique(answers[column].to_numpy(), return_inverse=True)
    weight = np.bincount(group, weights)
    useful = np.bincount(group, weights * answers["useful"].to_numpy())
    remaining_users = answers["user_id"].n_unique() - _users_in_one_group(answers, group)
    candidates = np.flatnonzero(
        (weight < _MAX_EXCLUDED_WEIGHT * weight.sum()) & (remaining_users >= _MIN_REMAINING_USERS)
    )
    if not len(candidates):
        return None
    shares = (useful.sum() - useful[candidates]) / (weight.sum() - weight[candidates])
    outlier = candidates[np.argmin(np.abs(shares - usual))]
    left_out = f"the answers of {name} {values[outlier]}, {weight[outlier] / weight.sum():.0%} of all"
    return _share(answers, np.where(group == outlier, 0.0, weights), left_out)


def _users_in_one_group(answers: pl.DataFrame, group: NDArray[np.int64]) -> NDArray[np.int64]:
    """The number of users per group who answered in no other group."""
    users = answers.select("user_id").with_columns(pl.Series("group", group))
    users_and_groups = users.group_by("user_id").agg(
        pl.col("group").first(), pl.col("group").n_unique().alias("groups")
    )
    return np.bincount(
        users_and_groups.filter(pl.col("groups") == 1)["group"].to_numpy(), minlength=int(group.max()) + 1
    )


def _share(answers: pl.DataFrame, weights: NDArray[np.float64], left_out: str = "") -> Usefulness:
    """The weighted mean over users, with the bounds of a weighted mean with fixed weights."""
    users, user_index = np.unique(answers["user_id"].to_numpy(), return_inverse=True)
    weight = np.bincount(user_index, weights, len(users))
    useful = np.bincount(user_index, weights * answers["useful"].to_numpy(), len(users))
    counted = weight > 0
    weight, value = weight[counted], useful[counted] / weight[counted]
    share = float(np.average(value, weights=weight))
    error = float(np.sqrt(np.sum((weight * (value - share)) ** 2)) / weight.sum())
    margin = STANDARD_ERRORS * error
    effective_users = round(weight.sum() ** 2 / np.sum(weight**2))
    return Usefulness(share, max(0.0, share - margin), min(1.0, share + margin), effective_users, left_out)
