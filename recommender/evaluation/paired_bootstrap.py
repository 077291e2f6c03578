"""Paired bootstrap: decide whether one model is better than another beyond chance.

Both models are measured on the same users. The differences per user are resampled with replacement; the spread of the
resampled means shows how far the mean varies by chance. This is the percentile bootstrap of Efron and Tibshirani (An
Introduction to the Bootstrap, 1993, chapter 13), applied to differences per query like Sakai (Evaluating Evaluation
Metrics based on the Bootstrap, SIGIR 2006).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recommender.evaluation.metrics import Values

MIN_USERS = 20  # with fewer users, the bootstrap spread is too narrow
_DRAWS_A_BLOCK = 2**22


@dataclass(frozen=True)
class Comparison:
    """Challenger minus champion, in units of the measure. `lower` and `upper` are one-sided bounds at `confidence`.

    `inconclusive_reason` is '' when the comparison is conclusive.
    """

    mean: float
    lower: float
    upper: float
    users: int
    confidence: float
    inconclusive_reason: str = ""

    @property
    def beats(self) -> bool:
        """Whether the challenger is better, beyond chance."""
        return not self.inconclusive_reason and self.lower > 0

    def not_inferior(self, margin: float) -> bool:
        """Whether the challenger is less than `margin` worse, beyond chance, in units of the measure.

        Identical recommendations are not inferior. With too few users the result is False.
        """
        return self.lower > -margin

    def __str__(self) -> str:
        if self.inconclusive_reason:
            return f"no win: {self.inconclusive_reason}"
        outcome = "better" if self.beats else "worse" if self.upper < 0 else "no win: the lower bound is not above zero"
        return f"{outcome} ({self.mean:+.4f}, {self.lower:+.4f} to {self.upper:+.4f}, {self.users:,} users)"


def compare(
    challenger: Values, champion: Values, *, seed: int = 0, confidence: float = 0.975, resamples: int = 2_000
) -> Comparison:
    """Compare two arrays with one value per user, of the same users in the same order. Raises ValueError."""
    if challenger.shape != champion.shape or challenger.ndim != 1:
        raise ValueError(f"the values are not of the same users: {challenger.shape} and {champion.shape}")
    difference = challenger - champion
    if not np.isfinite(difference).all():
        raise ValueError("a measure is not a number")
    users = len(difference)
    if users < MIN_USERS:
        mean = float(difference.mean()) if users else 0.0
        inconclusive_reason = f"{users} users are too few to compare, {MIN_USERS} are needed"
        return Comparison(mean, -np.inf, np.inf, users, confidence, inconclusive_reason)
    mean = float(difference.mean())
    if np.ptp(difference) == 0:
        inconclusive_reason = f"the difference is {mean:+.4f} for every user, so chance cannot be estimated"
        return Comparison(mean, mean, mean, users, confidence, inconclusive_reason)
    means = _means_of_draws(difference, resamples, np.random.default_rng(seed))
    lower, upper = np.quantile(means, [1 - confidence, confidence])
    return Comparison(mean, float(lower), float(upper), users, confidence)


def _means_of_draws(values: Values, resamples: int, random: np.random.Generator) -> NDArray[np.float64]:
    means = np.empty(resamples)
    step = max(1, _DRAWS_A_BLOCK // len(values))
    for begin in range(0, resamples, step):
        block = means[begin : begin + step]
        block[:] = values[random.integers(len(values), size=(len(block), len(values)))].mean(axis=1)
    return means
