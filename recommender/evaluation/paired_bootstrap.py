"""Whether one model is better than another, or its users were lucky.

Both are measured on the same users. Their differences are drawn again and again with replacement; where the means
of the draws lie tells how far the mean would have moved with other users of the same kind. It is the percentile
bootstrap of Efron and Tibshirani (An Introduction to the Bootstrap, 1993, chapter 13), used on differences per query
as by Sakai (Evaluating Evaluation Metrics based on the Bootstrap, SIGIR 2006).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recommender.evaluation.metrics import Values

MIN_USERS = 20  # of fewer, the spread of the draws is too narrow to be believed
_DRAWS_A_BLOCK = 2**22


@dataclass(frozen=True)
class Comparison:
    """Challenger minus champion, in units of the measure. `lower` and `upper` are one-sided bounds at `confidence`.

    `why_not` says why nothing could be concluded; '' when it could.
    """

    mean: float
    lower: float
    upper: float
    users: int
    confidence: float
    why_not: str = ""

    @property
    def beats(self) -> bool:
        """Whether the challenger is better beyond chance."""
        return not self.why_not and self.lower > 0

    def not_inferior(self, margin: float) -> bool:
        """Whether the challenger is, beyond chance, less than `margin` worse, in units of the measure.

        The same lists as before are; on too few users nobody is.
        """
        return self.lower > -margin

    def __str__(self) -> str:
        if self.why_not:
            return f"no win: {self.why_not}"
        verdict = "better" if self.beats else "worse" if self.upper < 0 else "no win: the lower bound is not above zero"
        return f"{verdict} ({self.mean:+.4f}, {self.lower:+.4f} to {self.upper:+.4f}, {self.users:,} users)"


def compare(
    challenger: Values, champion: Values, *, seed: int = 0, confidence: float = 0.975, resamples: int = 2_000
) -> Comparison:
    """Compare one value per user with another of the same users, in the same order. Raises ValueError."""
    if challenger.shape != champion.shape or challenger.ndim != 1:
        raise ValueError(f"not of the same users: {challenger.shape} and {champion.shape}")
    difference = challenger - champion
    if not np.isfinite(difference).all():
        raise ValueError("a measure is not a number")
    users = len(difference)
    if users < MIN_USERS:
        mean = float(difference.mean()) if users else 0.0
        why_not = f"{users} users are too few to compare on, {MIN_USERS} are needed"
        return Comparison(mean, -np.inf, np.inf, users, confidence, why_not)
    mean = float(difference.mean())
    if np.ptp(difference) == 0:
        why_not = f"the difference is {mean:+.4f} for every user, and chance cannot be told from it"
        return Comparison(mean, mean, mean, users, confidence, why_not)
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
