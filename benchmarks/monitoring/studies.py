"""The studies of the page, one table each, and the figures that have targets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from math import ceil

import numpy as np

from benchmarks.figures import Figure, Table
from benchmarks.monitoring.detection import (
    QUARTER,
    WEEK,
    WEEKEND,
    YEAR,
    Counts,
    Detection,
    DetectionRule,
    Histories,
    HistorySource,
    NormalNoise,
    PageHinkley,
    ResampledDays,
    cusum,
    first_alarm,
    ignoring_users,
    naive_rule,
    share_within,
    simulate_answers,
)
from benchmarks.monitoring.mock_days import Days, Values, remove_trend
from benchmarks.processes import Show
from recommender.monitoring.drift import CusumSettings
from recommender.monitoring.quality_monitor import MonitoringSettings

SETTINGS = MonitoringSettings()
DROPS, DROP = (0.1, 0.2, 0.3), 0.2
SOON, LATER, MUCH_LATER = 20, 60, 120
"""Days on which drops come."""
FEW_USERS, SOME_USERS, MANY_USERS = 60, 200, 1_000
"""Users a day."""
MOCK, NORMAL, CUSUM, NAIVE = "mock", "normal", "CUSUM", "naive"
_FEW_ANSWERS = 50
_H = SETTINGS.plays.h
_H_PAIRS = ((_H, SETTINGS.useful.h), (5.0, 5.0))
_K_AND_H = ((0.25, 5.0), (0.5, 4.0), (0.5, 5.0), (0.5, 6.0), (0.75, 4.0), (0.75, 5.0), (1.0, 4.0))
_SEED, _TUNING_SEED, _ANSWERS_SEED = 100, 200, 300
_FALSE = f"false within {QUARTER} days (%) | within a year (%)"

detector: DetectionRule = partial(cusum, rule=SETTINGS.plays)
useful_detector: DetectionRule = partial(cusum, rule=SETTINGS.useful)


@dataclass(frozen=True, eq=False)
class Studies:
    """All studies on the same days of the mock. The same days and number of histories give the same results."""

    raw: Days
    count: int
    show: Show

    @cached_property
    def days(self) -> Days:
        """The mock's days without their trend."""
        return remove_trend(self.raw)

    @cached_property
    def variation(self) -> float:
        """The coefficient of variation of one user's value."""
        values = np.concatenate(self.days)
        return float(values.std() / values.mean())

    def histories(self, source: HistorySource, users: int | Counts, seed: int = _SEED) -> Histories:
        """As many histories as this run simulates."""
        return Histories(source, users, self.count, seed)

    @cached_property
    def groups(self) -> Mapping[tuple[str, int], Histories]:
        """Histories by source and users a day."""
        mock, normal = ResampledDays(self.days), NormalNoise(self.variation)
        groups = {(MOCK, users): self.histories(mock, users) for users in (FEW_USERS, SOME_USERS, MANY_USERS)}
        return groups | {(NORMAL, users): self.histories(normal, users) for users in (SOME_USERS, MANY_USERS)}

    def answers(self, users: int) -> Histories:
        """Shares of useful answers, independent of everything else."""
        return self.histories(ResampledDays([simulate_answers()], block=1), users, _ANSWERS_SEED)

    @cached_property
    def figures(self) -> list[Figure]:
        """False alarms, detections and delays with targets. Drops come on day LATER."""
        figures = []
        for users, delay in ((SOME_USERS, 7), (MANY_USERS, 4)):
            name, group = f"{MOCK}, {users:,} users", self.groups[MOCK, users]
            alarms = group.false_alarms(detector, QUARTER)
            figures += _figures(name, alarms, name, group.detect(detector, DROP, LATER), delay)
        answers = self.answers(SOME_USERS)
        alarms = np.minimum(self.groups[MOCK, SOME_USERS].false_alarms(detector), answers.false_alarms(useful_detector))
        detection = answers.detect(useful_detector, DROP, LATER)
        names = f"both metrics, {SOME_USERS} users each", f"useful answers, {SOME_USERS} users"
        return [*figures, *_figures(names[0], alarms, names[1], detection, 7)]

    def quiet(self) -> Table:
        """False alarms."""
        rows = [
            f"{kind} | {users:,} | {_false_shares(group.false_alarms(detector))}"
            for (kind, users), group in self.groups.items()
        ]
        return Table("Nothing changes: false alarms", f"source | users | {_FALSE}", rows)

    def drops(self) -> Table:
        """Detected drops and delays."""
        rows = []
        for users in (FEW_USERS, SOME_USERS, MANY_USERS):
            for day in (LATER, MUCH_LATER) if users == FEW_USERS else (SOON, LATER):
                detections = (_detection(self.groups[MOCK, users].detect(detector, share, day)) for share in DROPS)
                rows.append(f"{MOCK} | {users:,} | {day} | {' | '.join(detections)}")
        header = "source | users | drop on day | 10 % drop | 20 % drop | 30 % drop"
        return Table("Drops: detected share and delay", header, rows)

    @cached_property
    def tuned(self) -> PageHinkley:
        """Page-Hinkley tuned for a 20 % drop at SOME_USERS users per day, with as many false alarms as the detector.

        The number of false alarms is that of a quarter. Tuning uses separate histories with known level and noise; the
        detector estimates both.
        """
        group = self.histories(ResampledDays(self.days), SOME_USERS, _TUNING_SEED)
        untuned = PageHinkley(delta=DROP / 2 * float(group.quiet.mean()), min_values=SETTINGS.plays.warm_up + 1)
        highest = untuned.statistic(group.quiet[:QUARTER]).max(axis=0)
        false_share = share_within(group.false_alarms(detector, QUARTER), QUARTER)
        return PageHinkley(untuned.delta, float(np.quantile(highest, 1 - false_share)), untuned.min_values)

    def rules(self, users: int) -> dict[str, DetectionRule]:
        """The compared rules by name."""
        value_per_user = PageHinkley(
            threshold=PageHinkley.threshold / users,
            min_values=ceil(PageHinkley.min_values / users),
            fading=PageHinkley.fading**users,
        )
        return {
            CUSUM: detector,
            NAIVE: lambda values, users: naive_rule(values, SETTINGS.plays.warm_up),
            "Page-Hinkley, value a day": lambda values, users: PageHinkley()(values),
            "Page-Hinkley, value a user": lambda values, users: value_per_user(values),
            "Page-Hinkley, tuned": lambda values, users: self.tuned(values),
        }

    def side_by_side(self) -> Table:
        """The rules on the same histories."""
        rows = []
        # Of many users, only the last two rules are of interest: their errors depend on the number of users.
        for users, first in ((SOME_USERS, 0), (MANY_USERS, -2)):
            group = self.groups[MOCK, users]
            for name, rule in list(self.rules(users).items())[first:]:
                detection = group.detect(rule, DROP, LATER)
                shares = f"{_false_shares(group.false_alarms(rule))} | {_percent(detection.too_early)}"
                rows.append(f"{users:,} | {name} | {shares} | {_detection(detection)}")
        header = f"users | rule | {_FALSE} | before day {LATER} (%) | 20 % drop on day {LATER}"
        return Table("Comparison with other rules", header, rows)

    def both_metrics(self) -> Table:
        """False alarms of two watched metrics, each with its own rule, and detections by useful answers."""
        ndcg = self.groups[MOCK, SOME_USERS]
        rows = []
        for users, day, pairs in ((SOME_USERS, LATER, _H_PAIRS), (_FEW_ANSWERS, MUCH_LATER, _H_PAIRS[:1])):
            answers, name = self.answers(users), f"useful, {users} users"
            for ndcg_h, h in pairs:
                alarms = np.minimum(ndcg.false_alarms(_with_h(ndcg_h)), answers.false_alarms(_with_h(h)))
                rows.append(f"NDCG or {name} | {ndcg_h:g} and {h:g} | {_false_shares(alarms)} | ")
            for _, h in pairs:
                detection = _detection(answers.detect(_with_h(h), DROP, day))
                shares = _false_shares(answers.false_alarms(_with_h(h)))
                rows.append(f"{name} | {h:g} | {shares} | {detection}, day {day}")
        return Table("Two metrics", f"watched | h | {_FALSE} | 20 % drop", rows)

    def grid(self) -> Table:
        """False alarms against delay."""
        group, drops = self.groups[MOCK, SOME_USERS], ((DROP, LATER), (DROP, SOON), (DROPS[0], LATER))
        rows = []
        for k, h in _K_AND_H:
            rule = partial(cusum, rule=CusumSettings(k, h, SETTINGS.plays.warm_up))
            detections = [_detection(group.detect(rule, share, day)) for share, day in drops]
            rows.append(f"{k:g} | {h:g} | {_false_shares(group.false_alarms(rule))} | {' | '.join(detections)}")
        header = f"k | h | {_FALSE} | 20 % drop, day {LATER} | 20 % drop, day {SOON} | 10 % drop, day {LATER}"
        return Table("Choice of k and h", header, rows)

    def changing_users(self) -> Table:
        """False alarms when the number of users changes, with and without weights for it."""
        normal, mock, patterns = NormalNoise(self.variation), ResampledDays(self.days), _users_of_days()
        growing = list(patterns)[-1]
        all_days = ResampledDays([np.concatenate(self.days)], block=1)
        cases: list[tuple[str, HistorySource, str]] = [
            *((NORMAL, normal, name) for name in patterns),
            *((MOCK, mock, name) for name in patterns),
            (f"{MOCK}, all days pooled", all_days, growing),
            (f"{NORMAL}, 2 % more spread", NormalNoise(self.variation, day_spread=0.02), growing),
            (f"{NORMAL}, 5 % more spread", NormalNoise(self.variation, day_spread=0.05), growing),
        ]
        rules = (detector, _with_h(_H + 1), ignoring_users(detector))
        rows = []
        for kind, source, name in cases:
            group = self.histories(source, patterns[name])
            quiet = group.draw_quiet(QUARTER)  # much faster than a year
            alarms = (group.alarms(quiet, rule) for rule in rules)
            shares = (_percent(share_within(days, QUARTER)) for days in alarms)
            rows.append(f"{kind} | {name} | {' | '.join(shares)}")
        header = f"source | users a day | h {_H:g} | h {_H + 1:g} | h {_H:g}, unweighted"
        return Table("Changing number of users", header, rows)

    def dependent_days(self) -> Table:
        """False alarms and delays when days depend on each other."""
        noises: dict[str, dict[str, float]] = {
            "independent": {},
            "autocorrelation 0.2": {"autocorrelation": 0.2},
            "autocorrelation 0.4": {"autocorrelation": 0.4},
            "weekends -5 %": {"weekend": 0.05},
        }
        rows = []
        for name, options in noises.items():
            group = self.histories(NormalNoise(self.variation, **options), SOME_USERS)
            trade_offs = (_trade_off(group, _with_h(h)) for h in (5.0, 6.0, 7.0, 8.0, 10.0))
            rows.append(f"{SOME_USERS} | {name} | {' | '.join(trade_offs)}")
        return Table("Dependent days", "users | noise | h 5 | h 6 | h 7 | h 8 | h 10", rows)

    def ordered_days(self) -> Table:
        """Alarms on the mock's days in their own order, with and without their trend."""
        rows = []
        for name, days in (("with trend", self.raw), ("without trend", self.days)):
            means, users_of_days = _means(days), np.array([len(values) for values in days])
            alarm = float(first_alarm(detector(means[:, None], users_of_days), np.arange(1, len(means) + 1))[0])
            levels = f"{means[:7].mean():.3f} | {means[-7:].mean():.3f}"
            rows.append(f"{name} | {levels} | " + (f"day {alarm:.0f}" if np.isfinite(alarm) else "none"))
        header = f"days | first week | last week | alarm within {len(self.raw)} days"
        return Table("The mock's days in order", header, rows)

    def mock_statistics(self) -> Table:
        """Statistics of the mock's days, for comparison with your own."""
        means, users = _means(self.days), np.array([len(values) for values in self.days])
        chance = np.mean([values.std() / np.sqrt(len(values)) for values in self.days]) / means.mean()
        deviation = means - means.mean()
        correlation = (deviation[1:] * deviation[:-1]).sum() / (deviation**2).sum()
        rows = [
            f"users with something new, a day | {users.min():,} to {users.max():,}",
            f"mean NDCG@20 | {means.mean():.3f}",
            f"users without any hit | {_percent(float((np.concatenate(self.days) == 0).mean()))} %",
            f"coefficient of variation of a user's value | {self.variation:.2f}",
            *(
                f"relative spread, {count:,} users | {_percent(self.variation / count**0.5)} %"
                for count in (SOME_USERS, MANY_USERS)
            ),
            f"relative spread of a day's mean | {_percent(float(means.std(ddof=1) / means.mean()))} %",
            f"the same from chance alone | {_percent(float(chance))} %",
            f"autocorrelation of daily means | {correlation:.2f}",
        ]
        return Table("Statistics of the mock's days", " | ", rows)

    def curves(self) -> tuple[dict[str, Values], dict[str, Values]]:
        """First alarms without a change, by rule, and delays of drops, for the plot: SOME_USERS mock users per day."""
        group, rules = self.groups[MOCK, SOME_USERS], self.rules(SOME_USERS)
        delays = {f"{CUSUM}, {100 * share:.0f} %": group.detect(detector, share, LATER).delays for share in DROPS}
        delays |= {f"{name}, 20 %": group.detect(rules[name], DROP, LATER).delays for name in list(rules)[1:]}
        return {name: group.false_alarms(rule) for name, rule in rules.items()}, delays

    @cached_property
    def tables(self) -> Sequence[Table]:
        """All tables in the order of the page."""
        studies = (
            *(self.quiet, self.drops, self.side_by_side, self.both_metrics, self.grid),
            *(self.changing_users, self.dependent_days, self.ordered_days, self.mock_statistics),
        )
        tables = []
        for number, study in enumerate(studies, 1):
            self.show(f"table {number} of {len(studies)}")
            tables.append(study())
        return tables


def _figures(false_name: str, alarms: Values, name: str, detection: Detection, delay: float) -> list[Figure]:
    early = f"{_percent(detection.too_early)} % early"
    false_share = 100 * share_within(alarms, QUARTER)
    return [
        Figure(f"{false_name}: false alarms within {QUARTER} days", false_share, "", unit="%", at_most=10),
        Figure(f"{name}: 20 % drop detected", 100 * detection.share, early, unit="%", at_least=95),
        Figure(f"{name}: median delay", detection.within(), early, unit="days", at_most=delay),
    ]


def _users_of_days() -> dict[str, Counts]:
    """Numbers of users on each day of a year. Growth and fall take a quarter."""
    day = np.arange(YEAR)
    progress = np.minimum(day / (QUARTER - 1), 1.0)
    return {
        "200": np.full(YEAR, 200),
        "1,000, weekends 200": np.where(np.isin(day % WEEK, WEEKEND), 200, 1_000),
        "1,000, from day 31 250": np.where(day < 30, 1_000, 250),
        f"2,000 to 200 in {QUARTER} days": np.rint(2_000 - 1_800 * progress).astype(np.int64),
        f"200 to 2,000 in {QUARTER} days": np.rint(200 + 1_800 * progress).astype(np.int64),
    }


def _means(days: Days) -> Values:
    return np.array([values.mean() for values in days])


def _with_h(h: float) -> DetectionRule:
    return partial(cusum, rule=CusumSettings(SETTINGS.plays.k, h, SETTINGS.plays.warm_up))


def _false_shares(alarms: Values) -> str:
    return f"{_percent(share_within(alarms, QUARTER))} | {_percent(share_within(alarms, YEAR))}"


def _trade_off(group: Histories, rule: DetectionRule) -> str:
    false_share = share_within(group.false_alarms(rule, QUARTER), QUARTER)
    return f"{_percent(false_share)}, {_delay(group.detect(rule, DROP, LATER))}"


def _detection(detection: Detection) -> str:
    return f"{_percent(detection.share)}, {_delay(detection)}"


def _delay(detection: Detection) -> str:
    half_days, most_days = (
        f"{days:.0f}" if np.isfinite(days) else "∞" for days in (detection.within(), detection.within(0.9))
    )
    return half_days if half_days == "∞" else f"{half_days} ({most_days})"


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"
