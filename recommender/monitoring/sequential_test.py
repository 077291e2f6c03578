"""Compare two groups of users with confidence bounds that hold at every look, however often one looks.

A user may have several observations, such as one per day. They are modelled as the mean of the group, plus a lasting
deviation of the user, plus noise. The difference of the means is estimated by weighting each user's mean with the
inverse of its variance. Estimates of such efficient weights at successive looks behave like Brownian motion in their
information, the inverse of their variance (Jennison and Turnbull 1997, Journal of the American Statistical
Association 92, 1330-1341). So the normal-mixture boundary of Robbins (1970, Annals of Mathematical Statistics 41,
1397-1409) covers all looks together; with estimated variances it is an asymptotic confidence sequence (Waudby-Smith et
al. 2024, Annals of Statistics 52, 2613-2640). It is the interval of the mixture sequential probability ratio test
(Johari et al. 2022, Operations Research 70, 1806-1821).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
# With fewer users in a group, the normal approximation is not reliable, and there are no bounds.
MIN_USERS = 100
# The relative difference at which the bounds are the tightest: the standard deviation of the mixture.
EXPECTED_CHANGE = 0.1


@dataclass(frozen=True, eq=False)
class UserTotals:
    """Per user: whether they are in the treatment; number, sum, and sum of the squares of their observations."""

    is_treatment: NDArray[np.bool_]
    counts: NDArray[np.int64]
    sums: Values
    squares: Values


@dataclass(frozen=True)
class VariantComparison:
    """The means of both groups, and their difference, treatment minus control, with bounds that hold at every look.

    The bounds are None while a group has fewer than 100 users.
    """

    control_users: int
    treatment_users: int
    control: float
    treatment: float
    difference: float
    lower: float | None = None
    upper: float | None = None

    @property
    def is_better(self) -> bool:
        """Whether the treatment is better beyond chance."""
        return self.lower is not None and self.lower > 0

    @property
    def is_worse(self) -> bool:
        """Whether the treatment is worse beyond chance."""
        return self.upper is not None and self.upper < 0


def compare(totals: UserTotals, error: float) -> VariantComparison | None:
    """Compare the groups. With probability `error` at most, the bounds miss the true difference at any look.

    Returns None if a group has no users with observations.
    """
    observed = totals.counts > 0
    is_treatment, counts = totals.is_treatment[observed], totals.counts[observed].astype(np.float64)
    if not is_treatment.any() or is_treatment.all():
        return None
    means = totals.sums[observed] / counts
    within, between = _variances(is_treatment, counts, means, totals.squares[observed])
    variances_of_users = between + within / counts
    weights = 1 / variances_of_users if variances_of_users.all() else np.ones(len(means))
    estimates, variances = zip(
        *(_weighted_mean(means[group], weights[group]) for group in (~is_treatment, is_treatment)), strict=True
    )
    users = int((~is_treatment).sum()), int(is_treatment.sum())
    control, treatment = estimates
    difference, variance = treatment - control, sum(variances)
    scale = EXPECTED_CHANGE * abs(float(np.average(means, weights=weights)))
    if min(users) < MIN_USERS or not variance or not scale:
        return VariantComparison(*users, control, treatment, difference)
    margin = mixture_margin(variance, scale, error)
    return VariantComparison(*users, control, treatment, difference, difference - margin, difference + margin)


def mixture_margin(variance: float, scale: float, error: float) -> float:
    """Half the width of the bounds of an estimate, by a normal mixture with this standard deviation (`scale`).

    Robbins 1970: with information I = 1 / variance and r = 1 / scale^2, sqrt((I + r) log((I + r) / (r error^2))) / I.
    """
    information, prior = 1 / variance, 1 / scale**2
    total = information + prior
    return float(np.sqrt(total * np.log(total / (prior * error**2))) / information)


def _variances(is_treatment: NDArray[np.bool_], counts: Values, means: Values, squares: Values) -> tuple[float, float]:
    """The variance of the observations of a user, and between users, by the moments of the analysis of variance."""
    repeated = float((counts - 1).sum())
    deviations, replicates = 0.0, 0.0
    for group in (~is_treatment, is_treatment):
        n, group_means = counts[group], means[group]
        deviations += float((n * (group_means - np.average(group_means, weights=n)) ** 2).sum())
        replicates += float(n.sum() - (n**2).sum() / n.sum())
    degrees = max(1, len(means) - 2)
    spread = deviations / degrees
    if not repeated:
        return spread, 0.0
    within = max(0.0, float((squares - counts * means**2).sum()) / repeated)
    return within, max(0.0, (spread - within) * degrees / max(replicates, 1.0))


def _weighted_mean(means: Values, weights: Values) -> tuple[float, float]:
    """The mean and its variance. The variance is from the deviations of users, so wrong weights do not bias it."""
    total = float(weights.sum())
    mean = float((weights * means).sum()) / total
    users = len(means)
    correction = users / (users - 1) if users > 1 else 1.0
    return mean, correction * float((weights**2 * (means - mean) ** 2).sum()) / total**2
