"""Simulates experiments with a daily look: false positives, and the power for a difference of 10 %.

`python -m benchmarks.experiments` prints the results; `--write` also writes them to docs/experiments.md.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np

from benchmarks.figures import Figure, Table
from benchmarks.report import DocsPage, figure_table, parse_count, table_sections
from recommender.monitoring.sequential_test import UserTotals, Values, compare

DAYS, LIFT, ERROR = 60, 0.1, 0.05
PAGE = DocsPage("experiments.md", "simulation")
_SEED = 7
_USERS = (500, 1_000, 2_000, 4_000, 8_000)
# Like the users of the mock: NDCG is zero on two days in five, else about a quarter.
_HIT, _GAIN = 0.57, (1.1, 3.0)
_USEFUL, _ANSWERING = 0.7, 0.1


@dataclass(frozen=True)
class Scenario:
    """A simulated experiment. `users` are those of both variants together, half of each.

    On each day a user plays with a probability that differs between users; its mean is `active`. The larger `likeness`,
    the more alike users are; 0 means that a user's quality is always the same, and either good or bad.
    """

    name: str
    users: int
    active: float = 0.3
    likeness: float = 4.0
    newcomers: bool = False


@dataclass(frozen=True)
class Outcomes:
    """Per experiment, the day of the first decision that the treatment is better, and that it is worse; 0 if none."""

    better: Sequence[int]
    worse: Sequence[int]
    naive: Sequence[int]

    @property
    def false_positives(self) -> float:
        """Percentage of experiments with a decision."""
        return _percentage(list(map(max, self.better, self.worse)))

    @property
    def naive_false_positives(self) -> float:
        """Percentage with a decision by the usual 95 % interval of each day."""
        return _percentage(self.naive)

    @property
    def power(self) -> float:
        """Percentage of experiments that find the treatment better, and not worse before."""
        return _percentage(self._found)

    @property
    def median_day(self) -> float:
        """The day on which half of these are found."""
        return median(filter(None, self._found)) if any(self._found) else float("nan")

    @property
    def _found(self) -> list[int]:
        """The day on which the treatment is found better, 0 if it is not, or was found worse before."""
        return [0 if 0 < worse < better else better for better, worse in zip(self.better, self.worse, strict=True)]


def _percentage(days: Sequence[int]) -> float:
    """The percentage of experiments with such a day."""
    return 100 * sum(map(bool, days)) / len(days)


def simulate(scenario: Scenario, lift: float, experiments: int, seed: int = _SEED) -> Outcomes:
    """Simulate experiments whose treatment raises NDCG by `lift` (a share), with both metrics and a look each day."""
    rng = np.random.default_rng(seed)
    days = [_simulate_experiment(scenario, lift, rng) for _ in range(experiments)]
    return Outcomes(*zip(*days, strict=True))


def _simulate_experiment(scenario: Scenario, lift: float, rng: np.random.Generator) -> tuple[int, int, int]:
    n = scenario.users
    is_treatment = rng.random(n) < 0.5
    hit, useful = (_probabilities(mean, scenario.likeness, n, rng) for mean in (_HIT, _USEFUL))
    active = _probabilities(scenario.active, 2.0, n, rng)
    first_day = rng.exponential(15, n).astype(int) if scenario.newcomers else np.zeros(n, int)
    ndcg, answers = (UserTotals(is_treatment, np.zeros(n, np.int64), np.zeros(n), np.zeros(n)) for _ in range(2))
    better, worse, naive = 0, 0, 0
    for day in range(1, DAYS + 1):
        plays = (rng.random(n) < active) & (first_day < day)
        # A day is better or worse for all users.
        gains = (
            (rng.random(n) < hit) * rng.beta(*_GAIN, n) * rng.uniform(0.8, 1.2) * np.where(is_treatment, 1 + lift, 1)
        )
        _add(ndcg, plays, np.minimum(gains, 1))
        _add(answers, plays & (rng.random(n) < _ANSWERING), (rng.random(n) < useful).astype(np.float64))
        comparisons = [comparison for totals in (ndcg, answers) if (comparison := compare(totals, ERROR / 2))]
        better = better or day * any(comparison.is_better for comparison in comparisons)
        worse = worse or day * any(comparison.is_worse for comparison in comparisons)
        naive = naive or day * _differs(ndcg)
        if (better or worse) and naive:
            break
    return better, worse, naive


def _probabilities(mean: float, likeness: float, n: int, rng: np.random.Generator) -> Values:
    if not likeness:
        return (rng.random(n) < mean).astype(np.float64)
    return rng.beta(mean * likeness, (1 - mean) * likeness, n)


def _add(totals: UserTotals, observed: np.ndarray, values: Values) -> None:
    totals.counts[observed] += 1
    totals.sums[observed] += values[observed]
    totals.squares[observed] += values[observed] ** 2


def _differs(totals: UserTotals) -> bool:
    """The usual two-sided test at 5 % over user-days, as if they were independent and there was one look."""
    means, variances = [], []
    for group in (~totals.is_treatment, totals.is_treatment):
        n = int(totals.counts[group].sum())
        if n < 2:
            return False
        mean = float(totals.sums[group].sum()) / n
        means.append(mean)
        variances.append((float(totals.squares[group].sum()) / n - mean**2) / (n - 1))
    return abs(means[1] - means[0]) > 1.96 * float(np.sqrt(sum(variances)))


NULL_SCENARIOS = (
    Scenario("few users", 500),
    Scenario("1,000 users", 1_000),
    Scenario("4,000 users", 4_000),
    Scenario("users who differ for ever", 1_000, likeness=0),
    Scenario("users who play daily", 1_000, active=0.9),
    Scenario("newcomers each day", 1_000, newcomers=True),
)


def page_lines(experiments: int) -> Iterator[str]:
    """Simulate all scenarios. The same number of experiments gives the same results."""
    nulls = {scenario: simulate(scenario, 0, experiments) for scenario in NULL_SCENARIOS}
    lifts = {users: simulate(Scenario("", users), LIFT, experiments) for users in _USERS}
    highest = max(outcomes.false_positives for outcomes in nulls.values())
    figures = [
        Figure("False positives within 60 daily looks, worst scenario", highest, "", "%", at_most=100 * ERROR),
        Figure("Power for 10 % more NDCG, 4,000 users", lifts[4_000].power, "", "%"),
    ]
    false_positives = Table(
        "No difference",
        "users | decisions (%) | naive test of each day (%)",
        [
            f"{scenario.name} | {outcomes.false_positives:.1f} | {outcomes.naive_false_positives:.1f}"
            for scenario, outcomes in nulls.items()
        ],
    )
    power = Table(
        "NDCG is 10 % higher",
        "users of both variants | found within 60 days (%) | median day | wrongly called worse (%)",
        [
            f"{users:,} | {outcomes.power:.0f} | {outcomes.median_day:.0f} | {_percentage(outcomes.worse):.1f}"
            for users, outcomes in lifts.items()
        ],
    )
    command = f"python -m benchmarks.experiments --experiments {experiments} --write"
    yield f"Written by `{command}`; every run gives the same figures. {experiments:,} experiments per row."
    yield ""
    yield from figure_table(figures)
    yield from table_sections([false_positives, power])


def main() -> None:
    """Print the simulation. Exits with 2 for a wrong argument."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.experiments", description=__doc__)
    parser.add_argument("--experiments", type=parse_count, default=1_000, help="experiments of each row (1000)")
    options = PAGE.read_options(parser, None)
    PAGE.publish(list(page_lines(options.experiments)), options.write)


if __name__ == "__main__":
    main()
