"""The questions that the page answers, each as a table, and the figures that have targets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import product
from math import ceil

import numpy as np

from benchmarks.figures import Figure, Table, at_least, at_most
from benchmarks.monitoring.histories import (
    WEEK,
    WEEKEND,
    Bootstrapped,
    Counts,
    InOrder,
    NormalNoise,
    Restless,
    Source,
    answers_of_listeners,
)
from benchmarks.monitoring.mock_days import Days, Values, without_trend
from benchmarks.monitoring.rules import Judge, PageHinkley, alike, by_values, cusum, first_alarm, naive
from benchmarks.monitoring.simulation import LOOKED, QUARTER, YEAR, Found, Histories, share_by
from benchmarks.processes import Show
from recommender.monitoring.drift import CusumSettings
from recommender.monitoring.quality_monitor import MonitoringSettings

RULES = MonitoringSettings()
OURS = RULES.plays
DROPS = (0.1, 0.2, 0.3)
DROP = 0.2
SOON, LATER, MUCH_LATER = 20, 60, 120
FEW, SOME, MANY = 60, 200, 1_000
MOCK, NORMAL = "the mock's listeners", "normal noise"
_KS, _HS = (0.25, 0.5, 0.75, 1.0), (4.0, 5.0, 6.0)
_OF_TWO = ((OURS.h, RULES.useful.h), (5.0, 5.0), (6.0, 6.0))
_HIGHER = (5.0, 6.0, 7.0, 8.0, 10.0)
_WRONG = (f"false within {QUARTER} days", "false within a year")
_SEED, _SEED_OF_TUNING, _SEED_OF_ANSWERS = 100, 200, 300
_FEW_ANSWERS = 50
_BEYOND_CHANCE = (0.02, 0.05)

judge: Judge = partial(cusum, rule=OURS)
judge_useful: Judge = partial(cusum, rule=RULES.useful)


@dataclass(frozen=True, eq=False)
class Curves:
    """For the plot: days of first alarms where nothing changed, by rule; and what became of drops, by their names."""

    quiet: Mapping[str, Values]
    drops: Mapping[str, Found]


@dataclass(frozen=True, eq=False)
class Studies:
    """All of them, on the same days of the mock. The same days and number of histories give the same figures."""

    raw: Days
    count: int
    show: Show

    @cached_property
    def days(self) -> Days:
        """The mock's days at one level."""
        return without_trend(self.raw)

    @cached_property
    def variation(self) -> float:
        """The coefficient of variation of one listener's value."""
        values = np.concatenate(self.days)
        return float(values.std() / values.mean())

    def histories(self, source: Source, listeners: int | Counts, seed: int = _SEED) -> Histories:
        """As many as are asked for."""
        return Histories(source, listeners, self.count, seed)

    @cached_property
    def groups(self) -> Mapping[tuple[str, int], Histories]:
        """Histories by their kind and the listeners a day."""
        mock, normal = Bootstrapped(self.days), NormalNoise(self.variation)
        return {
            **{(MOCK, listeners): self.histories(mock, listeners) for listeners in (FEW, SOME, MANY)},
            **{(NORMAL, listeners): self.histories(normal, listeners) for listeners in (SOME, MANY)},
        }

    def answers(self, listeners: int) -> Histories:
        """Shares of useful answers, drawn independently of all else."""
        return self.histories(Bootstrapped([answers_of_listeners()], block=1), listeners, _SEED_OF_ANSWERS)

    def figures(self) -> list[Figure]:
        """What has a target. Drops come on day LATER."""
        found = []
        for (kind, listeners), group in self.groups.items():
            if listeners == FEW:
                continue
            self.show(f"targets: {kind}, {listeners:,} a day")
            who = f"{kind}, {listeners:,} a day"
            wrong = share_by(group.false_alarms(judge, QUARTER), QUARTER)
            dropped = group.find(judge, DROP, LATER)
            limit = 7 if listeners == SOME else 4
            how = f"{self.count:,} histories"
            found.append(Figure(f"False alarm within {QUARTER} days, {who}", 100 * wrong, "%", at_most(10), how))
            how = f"{_percent(dropped.too_early)} had an alarm before and do not count"
            share, delay = 100 * dropped.share, dropped.within()
            found.append(Figure(f"20 % drop found within {LOOKED} days, {who}", share, "%", at_least(95), how))
            found.append(Figure(f"Median delay of a 20 % drop, {who}", delay, "days", at_most(limit), how))
        return [*found, *self._figures_of_both()]

    def _figures_of_both(self) -> list[Figure]:
        """What has a target where NDCG and useful answers are watched, each by its own rule."""
        self.show(f"targets: both measures, {SOME} a day each")
        answers = self.answers(SOME)
        alarms = np.minimum(self.groups[MOCK, SOME].false_alarms(judge), answers.false_alarms(judge_useful))
        dropped = answers.find(judge_useful, DROP, LATER)
        name = f"False alarm within {QUARTER} days of either of two measures, {SOME} a day each"
        who, how = f"useful answers of {SOME} a day", f"{_percent(dropped.too_early)} had an alarm before"
        share, delay = 100 * dropped.share, dropped.within()
        return [
            Figure(name, 100 * share_by(alarms, QUARTER), "%", at_most(10), "NDCG and useful answers"),
            Figure(f"20 % drop found within {LOOKED} days, {who}", share, "%", at_least(95), how),
            Figure(f"Median delay of a 20 % drop, {who}", delay, "days", at_most(7), how),
        ]

    def quiet(self) -> Table:
        """False alarms."""
        rows = []
        for (kind, listeners), group in self.groups.items():
            self.show(f"nothing changes: {kind}, {listeners:,} a day")
            rows.append([kind, f"{listeners:,}", *_within(group.false_alarms(judge))])
        header = ["histories", "listeners a day", *_WRONG]
        how = "The share of histories with an alarm although nothing changed. The first day is the first ever measured."
        return Table("Nothing changed: false alarms", header, rows, how)

    def drops(self) -> Table:
        """What is found, and how soon."""
        rows = []
        for (kind, listeners), group in self.groups.items():
            for day in (LATER, MUCH_LATER) if listeners == FEW else (SOON, LATER):
                self.show(f"drops on day {day}: {kind}, {listeners:,} a day")
                found = [group.find(judge, share, day) for share in DROPS]
                rows.append([kind, f"{listeners:,}", str(day), *map(_said, found)])
        header = ["histories", "listeners a day", "drop on day", *(f"drop of {100 * share:.0f} %" for share in DROPS)]
        how = (
            f"The share that is found within {LOOKED} days, and the days within which half of them are found (in"
            " brackets: nine of ten). The first bad day and the day of the alarm both count as days. Histories with an"
            f" alarm before the drop are left out. {FEW} listeners a day are merged to four days a value: the warm-up"
            " then takes 56 days."
        )
        return Table("Quality drops: what is found, and how soon", header, rows, how)

    @cached_property
    def tuned(self) -> PageHinkley:
        """Page-Hinkley for a 20 % drop at SOME listeners a day, with as many false alarms in a quarter as ours.

        On histories of their own. It has to be told the level and the noise; ours finds them out.
        """
        known = self.histories(Bootstrapped(self.days), SOME, _SEED_OF_TUNING)
        plain = PageHinkley(delta=DROP / 2 * float(known.quiet.mean()), least=OURS.warm_up + 1)
        highest = plain.statistic(known.quiet[:QUARTER]).max(axis=0)
        wrong = share_by(known.false_alarms(judge, QUARTER), QUARTER)
        return PageHinkley(plain.delta, float(np.quantile(highest, 1 - wrong)), plain.least)

    def rules(self, listeners: int) -> dict[str, Judge]:
        """All that are compared, by name."""
        one_by_one = PageHinkley(
            threshold=PageHinkley.threshold / listeners,
            least=ceil(PageHinkley.least / listeners),
            fading=PageHinkley.fading**listeners,
        )
        return {
            "this alarm": judge,
            "naive daily rule": by_values(partial(naive, warm_up=OURS.warm_up)),
            "Page-Hinkley, usual settings, a value a day": by_values(PageHinkley()),
            "Page-Hinkley, usual settings, a value a listener": by_values(one_by_one),
            f"Page-Hinkley, tuned for {SOME} a day": by_values(self.tuned),
        }

    def side_by_side(self) -> Table:
        """The rules on the same histories."""
        rows = []
        for listeners in (SOME, MANY):
            group = self.groups[MOCK, listeners]
            self.show(f"rules side by side: {listeners:,} a day")
            falling = group.falling(DROP, LATER)
            for name, rule in self.rules(listeners).items():
                alarms, found = group.false_alarms(rule), Found.of(group.alarms(falling, rule), LATER)
                rows.append([f"{listeners:,}", name, *_within(alarms), _percent(found.too_early), _said(found)])
        header = [
            "listeners a day",
            "rule",
            *_WRONG,
            f"false before day {LATER}",
            f"20 % drop on day {LATER}",
        ]
        how = (
            "On the same histories of the mock's listeners. The naive rule: a day's mean lies below the interval in"
            " which 95 % of the days so far would lie. Page-Hinkley's usual settings are delta 0.005, threshold 50,"
            " 30 values; with a value a listener it looks once a day, after all of that day's. Tuned, its delta is half"
            f" of the drop, and its threshold the one with which it is wrong as often as this alarm at {SOME}"
            " listeners a day: it was told the level and the noise."
        )
        return Table("Side by side with other rules", header, rows, how)

    def both_metrics(self) -> Table:
        """The chance that either of two charts is wrong, each by its own rule, and how soon useful answers tell."""
        lists = self.groups[MOCK, SOME]
        rows = []
        for listeners, day in ((SOME, LATER), (_FEW_ANSWERS, MUCH_LATER)):
            self.show(f"useful answers of {listeners} listeners a day")
            answers = self.answers(listeners)
            falling, name = answers.falling(DROP, day), f"useful answers of {listeners} a day"
            for h_of_lists, h in _OF_TWO:
                alarms = np.minimum(lists.false_alarms(_with(h_of_lists)), answers.false_alarms(_with(h)))
                rows.append([f"either of NDCG and {name}", f"{h_of_lists:g} and {h:g}", *_within(alarms), ""])
            for _, h in _OF_TWO:
                found = Found.of(answers.alarms(falling, _with(h)), day)
                said = f"{_said(found)}, from day {day}"
                rows.append([name, f"{h:g}", *_within(answers.false_alarms(_with(h))), said])
        how = (
            f"NDCG of {SOME} of the mock's listeners a day. Useful answers are made up: listeners give 1 to 5 answers,"
            " 70 % of them useful, some listeners more content than others; 20 % of the listeners then find nothing"
            f" useful. {_FEW_ANSWERS} a day are merged to four days a value. The two are drawn independently. Where h"
            f" is two numbers, the first is of NDCG; {OURS.h:g} and {RULES.useful.h:g} are the settings."
        )
        return Table("Two measures watched at once", ["watched", "h", *_WRONG, "20 % drop of it"], rows, how)

    def grid(self) -> Table:
        """False alarms against delay."""
        group, drops = self.groups[MOCK, SOME], ((DROP, LATER), (DROP, SOON), (DROPS[0], LATER))
        falling = {(share, day): group.falling(share, day) for share, day in drops}
        rows = []
        for k, h in product(_KS, _HS):
            self.show(f"choosing k and h: k {k}, h {h}")
            rule = partial(cusum, rule=CusumSettings(k, h, OURS.warm_up))
            found = [_said(Found.of(group.alarms(values, rule), day)) for (_, day), values in falling.items()]
            rows.append([f"{k:g}", f"{h:g}", *_within(group.false_alarms(rule)), *found])
        header = [f"{100 * share:.0f} % drop on day {day}" for share, day in drops]
        return Table("Choosing k and h", ["k", "h", *_WRONG, *header], rows, f"{SOME} of the mock's listeners a day.")

    def changing(self) -> Table:
        """False alarms when the number of listeners changes, beside those if all values were held alike."""
        normal, mock = NormalNoise(self.variation), Bootstrapped(self.days)
        patterns = _listeners_of_days()
        growing = list(patterns)[-1]
        asked: list[tuple[str, Source, str]] = [
            *((NORMAL, normal, name) for name in patterns),
            *((MOCK, mock, name) for name in patterns),
            (f"{MOCK}, of all days together", Bootstrapped([np.concatenate(self.days)], block=1), growing),
            *(
                (f"{NORMAL}, and days that differ by {100 * more:.0f} % beyond it", Restless(normal, more), growing)
                for more in _BEYOND_CHANCE
            ),
        ]
        higher = OURS.h + 1
        rules = (judge, _with(higher), alike(judge))
        rows = []
        for kind, source, name in asked:
            self.show(f"the number of listeners changes: {kind}, {name}")
            group = self.histories(source, patterns[name])
            alarms = (group.alarms(group.quiet_quarter, rule) for rule in rules)
            rows.append([kind, name, *(_percent(share_by(found, QUARTER)) for found in alarms)])
        how = (
            f"False alarms within {QUARTER} days although nothing changed but the number of listeners. This alarm knows"
            " the number and holds a value of more listeners to a narrower spread; beside it, the same rule if it held"
            " all values alike. The mock's days are samples themselves and differ by more than the chance of who is"
            " drawn from them; drawn from the listeners of all days together, they do not."
        )
        said = (f"h {OURS.h:g}", f"h {higher:g}", f"h {OURS.h:g}, without the number of listeners")
        header = ["histories", "listeners a day", *said]
        return Table("When the number of listeners changes", header, rows, how)

    def dependent(self) -> Table:
        """Days that hang together."""
        noises: dict[str, dict[str, float]] = {
            "independent days": {},
            "autocorrelation 0.2": {"autocorrelation": 0.2},
            "autocorrelation 0.4": {"autocorrelation": 0.4},
            "weekends 5 % lower": {"weekend": 0.05},
            "autocorrelation 0.2, weekends 5 % lower": {"autocorrelation": 0.2, "weekend": 0.05},
        }
        rows = []
        for listeners in (SOME, MANY):
            for name, how_noisy in noises.items():
                self.show(f"{name}, {listeners:,} a day")
                group = self.histories(NormalNoise(self.variation, **how_noisy), listeners)
                falling = group.falling(DROP, LATER)
                rows.append([f"{listeners:,}", name, *(_trade(group, _with(h), falling) for h in _HIGHER)])
        how = (
            f"False alarms within {QUARTER} days, and the days within which half (nine of ten) of the 20 % drops on day"
            f" {LATER} are found, at k {OURS.k:g}. Normal noise; the autocorrelation is of all of it, from one day to"
            " the next."
        )
        return Table("Days that hang together", ["listeners a day", "noise", *(f"h {h:g}" for h in _HIGHER)], rows, how)

    def as_they_were(self) -> Table:
        """What the alarm says to the mock's days in their order, at their own level and without the trend."""
        rows = []
        for name, days in (("as they were", self.raw), ("without the trend", self.days)):
            means, numbers = np.array([values.mean() for values in days]), np.array([len(values) for values in days])
            alone = float(first_alarm(judge(means[:, None], numbers), np.arange(1, len(means) + 1))[0])
            said = f"on day {alone:.0f}" if np.isfinite(alone) else "none"
            rows.append([name, "everyone", *_levels(means), said])
            for listeners in (SOME, MANY):
                self.show(f"the mock's days {name}: {listeners:,} a day")
                group = self.histories(InOrder(days), listeners)
                values = group.source.draw(np.ones(len(days)), listeners, self.count, group.seed)
                alarms = group.alarms(values, judge)
                median = np.quantile(alarms, 0.5, method="inverted_cdf")
                half = f", half of them by day {median:.0f}" if np.isfinite(median) else ""
                rows.append([name, f"{listeners:,}", *_levels(means), f"in {_percent(share_by(alarms, YEAR))}{half}"])
        header = ["days", "listeners a day", "first week", "last week", f"alarm within {len(self.raw)} days"]
        how = "NDCG@20 of the mock's days in their own order, of everyone or of that many drawn from each day."
        return Table("The mock's days in their order", header, rows, how)

    def mock(self) -> Table:
        """What the mock's days look like, for who wants to compare them with their own."""
        means = np.array([values.mean() for values in self.days])
        listeners = np.array([len(values) for values in self.days])
        chance = np.mean([values.std() / np.sqrt(len(values)) for values in self.days]) / means.mean()
        away, sizes = means - means.mean(), (SOME, MANY)
        rows = [
            ["listeners with something new, a day", f"{listeners.min():,} to {listeners.max():,}"],
            ["mean NDCG@20", f"{means.mean():.3f}"],
            ["listeners without any hit", _percent(float((np.concatenate(self.days) == 0).mean()))],
            ["coefficient of variation of one listener's value", f"{self.variation:.2f}"],
            *(
                [f"spread of a value of {n:,} listeners, by its level", _percent(self.variation / n**0.5)]
                for n in sizes
            ),
            ["spread of a day's mean of everyone, by its level", _percent(float(means.std(ddof=1) / means.mean()))],
            ["the same if only chance made it", _percent(float(chance))],
            ["autocorrelation of a day's mean with the next", f"{(away[1:] * away[:-1]).sum() / (away**2).sum():.2f}"],
        ]
        return Table(
            "What the mock's listeners look like",
            ["", ""],
            rows,
            "Without the trend. A spread is a standard deviation.",
        )

    def curves(self) -> Curves:
        """For the plot: SOME of the mock's listeners a day."""
        group, rules = self.groups[MOCK, SOME], self.rules(SOME)
        drops = {f"this alarm, {100 * share:.0f} %": group.find(judge, share, LATER) for share in DROPS}
        falling = group.falling(DROP, LATER)
        for name in list(rules)[1:]:
            drops[f"{name}, 20 %"] = Found.of(group.alarms(falling, rules[name]), LATER)
        return Curves({name: group.false_alarms(rule) for name, rule in rules.items()}, drops)

    def tables(self) -> Sequence[Table]:
        """All of them, in the order of the page."""
        return (
            self.quiet(),
            self.drops(),
            self.side_by_side(),
            self.both_metrics(),
            self.grid(),
            self.changing(),
            self.dependent(),
            self.as_they_were(),
            self.mock(),
        )


def _listeners_of_days() -> dict[str, Counts]:
    """How many listeners come on each day of a year, by what it is like; what grows or falls does so in a quarter."""
    day = np.arange(YEAR)
    part = np.minimum(day / (QUARTER - 1), 1.0)
    return {
        "200, always": np.full(YEAR, 200),
        "1,000, on weekends 200": np.where(np.isin(day % WEEK, WEEKEND), 200, 1_000),
        "1,000, from day 31 on 250": np.where(day < 30, 1_000, 250),
        f"falling from 2,000 to 200 in {QUARTER} days": np.rint(2_000 - 1_800 * part).astype(np.int64),
        f"growing from 200 to 2,000 in {QUARTER} days": np.rint(200 + 1_800 * part).astype(np.int64),
    }


def _with(h: float) -> Judge:
    return partial(cusum, rule=CusumSettings(OURS.k, h, OURS.warm_up))


def _within(alarms: Values) -> list[str]:
    return [_percent(share_by(alarms, days)) for days in (QUARTER, YEAR)]


def _trade(group: Histories, rule: Judge, falling: Values) -> str:
    found = Found.of(group.alarms(falling, rule), LATER)
    return f"{_percent(share_by(group.false_alarms(rule, QUARTER), QUARTER))}, {_days(found)}"


def _said(found: Found) -> str:
    return f"{_percent(found.share)}, {_days(found)}"


def _days(found: Found) -> str:
    half, most = found.within(), found.within(0.9)
    if not np.isfinite(half):
        return "most never"
    return f"{half:.0f} ({f'{most:.0f}' if np.isfinite(most) else 'not all'}) days"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _levels(means: Values) -> tuple[str, str]:
    return f"{means[:7].mean():.3f}", f"{means[-7:].mean():.3f}"
