"""Simulates how often learned ranges warn without a reason, and how often they find a fault on its first day.

`python -m benchmarks.learned_ranges`; `--write` also writes the results to docs/learned-ranges.md. The figures are
compared by the code of the ingest. A simulated year has growth, a yearly wave, weekdays, days that depend on each
other, eleven holidays, and slowly moving tastes.
"""

from __future__ import annotations

import argparse
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.figures import Figure, Table
from benchmarks.report import DocsPage, figure_table, parse_count, table_sections, terminal
from core.endpoints import ENDPOINTS, LISTEN_HISTORY, TRACKS, USERS, Endpoint
from pipeline.batch_figures import FigureResult, Measured, PastFigure, compare_with_history
from pipeline.batches import Batch

PAGE = DocsPage("learned-ranges.md", "simulation")
YEAR, FIRST_DAY = 365, date(2026, 1, 1)
_GENRES, _GENDERS, _ID_RANGES, _HOURS, _HOLIDAYS = 17, 12, 16, 24, 11
# Days of history before a fault. Distributions have a range after three weeks.
_DAYS_BEFORE_FAULT = (15, 28, 120)

Floats = NDArray[np.float64]
Day = Mapping[Endpoint, Measured]
Fault = Callable[[Day], Day]
Series = Sequence[Any] | NDArray[Any]
"""One number or distribution per day."""


def quiet_days(random: np.random.Generator, days: int, rows: int) -> list[Day]:
    """Days without a fault of a source with these numbers of tracks, users, and sessions a day."""
    sessions = _sessions(random, days, rows)
    active = random.poisson(0.7 * sessions * np.exp(random.normal(0, 0.01, days)))
    plays = sessions * 5 * np.exp(random.normal(0, 0.01, days))
    new = [random.poisson(rows * 0.002 * np.exp(random.normal(0, 0.1, days))) for _ in range(2)]
    removed = [random.poisson(rows * 0.0005, days) for _ in range(2)]
    stocks = [rows + np.cumsum(arrived - removed_rows) for arrived, removed_rows in zip(new, removed, strict=True)]
    median, long = 215 * np.exp(np.cumsum(random.normal(0, 0.0005, (2, days)), axis=1)) * [[1.0], [1.9]]
    weekdays = random.dirichlet(np.full(_HOURS, 8.0) * 50, 7)
    hours = [random.multinomial(sessions[day], random.dirichlet(weekdays[day % 7] * 4_000)) for day in range(days)]
    played_genres, listeners = _drifting(random, _GENRES, plays), _drifting(random, _GENRES, active)
    user_ids = _drifting(random, _ID_RANGES, active, concentration=50.0)
    genres = _stock(random, _GENRES, stocks[0])
    genders, favorite_genres = _stock(random, _GENDERS, stocks[1]), _stock(random, _GENRES, stocks[1])
    landed = np.full(days, 30.0 * rows)
    # By endpoint: numbers by figure, rows and the probability of each row, and distributions by figure.
    series: Mapping[Endpoint, tuple[Mapping[str, Series], Mapping[str, tuple[Series, float]], Mapping[str, Series]]] = {
        TRACKS: (
            {"rows": stocks[0], "new_rows": new[0], "removed_rows": removed[0]}
            | {"median_duration": np.round(median), "long_duration": np.round(long)},
            {"blank_artists": (stocks[0], 0.001), "rejected_rows": (stocks[0], 0.0003)},
            {"genres": genres},
        ),
        USERS: (
            {"rows": stocks[1], "new_rows": new[1], "removed_rows": removed[1]},
            {"rejected_rows": (stocks[1], 0.0003)},
            {"genders": genders, "favorite_genres": favorite_genres},
        ),
        LISTEN_HISTORY: (
            {"sessions": sessions, "plays_per_session": plays / np.maximum(sessions, 1)}
            | {"sessions_per_user": sessions / np.maximum(active, 1)},
            {
                "repeated_sessions": (sessions, 0.004),
                "duplicate_rows": (landed, 0.0002),
                "rejected_rows": (landed, 0.0001),
            },
            {"hours": hours, "user_ids": user_ids, "favorite_genres": listeners, "played_genres": played_genres},
        ),
    }

    def share(of_rows: float, probability: float) -> float:
        return float(random.binomial(int(of_rows), probability) / of_rows) if of_rows else 0.0

    def measured(endpoint: Endpoint, day: int) -> Measured:
        numbers, shares, parts = series[endpoint]
        drawn = {name: share(of_rows[day], probability) for name, (of_rows, probability) in shares.items()}
        return Measured(
            {name: float(values[day]) for name, values in numbers.items()} | drawn,
            {name: float(of_rows[day]) for name, (of_rows, _) in shares.items()},
            {name: _named(counts[day]) for name, counts in parts.items()},
        )

    return [{endpoint: measured(endpoint, day) for endpoint in series} for day in range(days)]


def _sessions(random: np.random.Generator, days: int, rows: int) -> NDArray[np.int64]:
    time = np.arange(days)
    spread, dependence = random.choice([0.02, 0.04, 0.07]), random.uniform(0, 0.4)
    noise = random.normal(0, spread, days)
    for day in range(1, days):
        noise[day] += dependence * noise[day - 1]
    weekdays = random.normal(0, 0.12, 7)
    wave = 0.1 * np.sin(2 * np.pi * time / YEAR + random.uniform(0, 6))
    level = np.log(rows) + random.uniform(-0.1, 0.6) / YEAR * time + wave + weekdays[time % 7] + noise
    holidays = random.choice(days, max(1, _HOLIDAYS * days // YEAR), replace=False)
    level[holidays] += random.normal(0, 0.2, len(holidays))
    sessions: NDArray[np.int64] = random.poisson(np.exp(level))
    return sessions


def _drifting(random: np.random.Generator, parts: int, rows: NDArray[Any], concentration: float = 5.0) -> list[Floats]:
    logs = np.log(random.dirichlet(np.full(parts, concentration)))
    days = []
    for rows_of_day in rows:
        logs = logs + random.normal(0, 0.005, parts)
        shares = np.exp(logs) / np.exp(logs).sum()
        days.append(random.multinomial(int(rows_of_day), random.dirichlet(shares * 4_000)).astype(float))
    return days


def _stock(random: np.random.Generator, parts: int, rows: NDArray[Any]) -> list[Floats]:
    shares = random.dirichlet(np.full(parts, 5.0))
    counts = random.multinomial(int(rows[0]), shares).astype(float)
    days = [counts]
    for change in np.diff(rows):
        counts = np.maximum(counts + np.sign(change) * random.multinomial(abs(int(change)), shares), 0)
        days.append(counts)
    return days


def _named(counts: NDArray[Any]) -> dict[str, float]:
    return {str(number): float(count) for number, count in enumerate(counts) if count}


class SimulatedHistory:
    """The figures of the days so far, as the ingest would find them in the database."""

    def __init__(self) -> None:
        self._past: dict[Endpoint, list[PastFigure]] = defaultdict(list)

    def compare(self, number: int, day: Day) -> list[tuple[Endpoint, FigureResult]]:
        """The figures of a day, compared with the days so far."""
        results = []
        for endpoint in ENDPOINTS:
            batch = Batch(endpoint, FIRST_DAY + timedelta(days=number), "simulation")
            recent = [figure for figure in self._past[endpoint] if batch.day - figure.day <= timedelta(days=60)]
            results += [(endpoint, result) for result in compare_with_history(day[endpoint], batch, recent)]
        return results

    def add(self, number: int, results: Sequence[tuple[Endpoint, FigureResult]]) -> None:
        """Record the figures of a day."""
        day = FIRST_DAY + timedelta(days=number)
        for endpoint, result in results:
            self._past[endpoint].append(
                PastFigure(
                    day,
                    result.specification.name,
                    result.value,
                    result.total,
                    result.parts,
                    result.range.expected if result.range else None,
                    result.is_normal,
                    confirmed=False,
                )
            )


def unusual(results: Sequence[tuple[Endpoint, FigureResult]]) -> list[str]:
    """The names of the unusual figures."""
    return [f"{endpoint}: {result.specification.label}" for endpoint, result in results if not result.is_normal]


def count_false_alarms(seed: int, years: int, rows: int) -> tuple[int, Counter[str]]:
    """Days with a warning, and warnings by figure, in years in which nothing is wrong."""
    random = np.random.default_rng(seed)
    by_figure: Counter[str] = Counter()
    days = 0
    for _ in range(years):
        history = SimulatedHistory()
        for number, day in enumerate(quiet_days(random, YEAR, rows)):
            results = history.compare(number, day)
            by_figure.update(unusual(results))
            days += bool(unusual(results))
            history.add(number, results)
    return days, by_figure


def _change(day: Day, endpoint: Endpoint, numbers: Mapping[str, float], **parts: Mapping[str, float]) -> Day:
    measured = day[endpoint]
    totals = {"repeated_sessions": numbers["sessions"]} if "sessions" in numbers else {}
    changed = replace(
        measured,
        numbers={**measured.numbers, **numbers},
        parts={**measured.parts, **parts},
        totals={**measured.totals, **totals},
    )
    return {**day, endpoint: changed}


def _number(day: Day, endpoint: Endpoint, figure: str) -> float:
    return day[endpoint].numbers[figure] or 0.0


def _half_a_day_missing(day: Day) -> Day:
    hours = {hour: rows for hour, rows in day[LISTEN_HISTORY].parts["hours"].items() if int(hour) < _HOURS // 2}
    return _change(day, LISTEN_HISTORY, {"sessions": sum(hours.values())}, hours=hours)


def _genre_missing(day: Day) -> Day:
    genres = dict(list(day[TRACKS].parts["genres"].items())[1:])
    lost = _number(day, TRACKS, "rows") - sum(genres.values())
    numbers = {"rows": sum(genres.values()), "removed_rows": _number(day, TRACKS, "removed_rows") + lost}
    return _change(day, TRACKS, numbers, genres=genres)


def _durations_in_milliseconds(day: Day) -> Day:
    durations = ("median_duration", "long_duration")
    return _change(day, TRACKS, {name: 1_000 * _number(day, TRACKS, name) for name in durations})


def _client_sends_twice(day: Day) -> Day:
    """The client of a tenth of the sessions sends each of them twice."""
    sessions = _number(day, LISTEN_HISTORY, "sessions")
    twice = round(sessions / 10)
    repeated = _number(day, LISTEN_HISTORY, "repeated_sessions") * sessions + twice
    per_user = _number(day, LISTEN_HISTORY, "sessions_per_user") * (sessions + twice) / sessions
    numbers = {
        "sessions": sessions + twice,
        "repeated_sessions": repeated / (sessions + twice),
        "sessions_per_user": per_user,
    }
    return _change(day, LISTEN_HISTORY, numbers)


def _users_missing(day: Day) -> Day:
    """A tenth of the users is missing in their snapshot."""
    users = _number(day, USERS, "rows")
    removed = _number(day, USERS, "removed_rows") + users / 10
    return _change(day, USERS, {"rows": 0.9 * users, "removed_rows": removed})


def _sessions_of_users_missing(day: Day) -> Day:
    """The sessions of two of the sixteen ranges of user ids are missing."""
    ids = {part: rows for part, rows in day[LISTEN_HISTORY].parts["user_ids"].items() if int(part) > 1}
    kept = sum(ids.values()) / sum(day[LISTEN_HISTORY].parts["user_ids"].values())
    sessions = float(round(kept * _number(day, LISTEN_HISTORY, "sessions")))
    return _change(day, LISTEN_HISTORY, {"sessions": sessions}, user_ids=ids)


FAULTS: Mapping[str, Fault] = {
    "half a day of sessions is missing": _half_a_day_missing,
    "one genre of tracks is missing": _genre_missing,
    "durations are in milliseconds": _durations_in_milliseconds,
    "a client (10 % of the sessions) sends every session twice": _client_sends_twice,
    "10 % of the users are missing": _users_missing,
    "the sessions of users with an eighth of the ids are missing": _sessions_of_users_missing,
}


def detected_shares(seed: int, histories: int, days: int, rows: int) -> dict[str, float]:
    """For each fault, the share of histories in which its first day has an unusual figure."""
    random = np.random.default_rng(seed)
    detected: Counter[str] = Counter()
    for _ in range(histories):
        history = SimulatedHistory()
        *before, last = quiet_days(random, days + 1, rows)
        for number, day in enumerate(before):
            history.add(number, history.compare(number, day))
        for name, fault in FAULTS.items():
            detected[name] += bool(unusual(history.compare(days, fault(last))))
    return {name: detected[name] / histories for name in FAULTS}


def page_lines(years: int, histories: int) -> Iterator[str]:
    """Run all simulations. Every run gives the same figures."""
    quiet = {rows: count_false_alarms(1, years, rows) for rows in (300, 4_000, 50_000)}
    figures = [
        Figure(
            f"warnings a year without a reason, {rows:,} sessions a day",
            sum(by_figure.values()) / years,
            f"on {days / years:.1f} days a year; {years} years",
            at_most=12,
        )
        for rows, (days, by_figure) in quiet.items()
    ]
    shares = {days: detected_shares(2, histories, days, 4_000) for days in _DAYS_BEFORE_FAULT}
    lowest = 100 * min(shares[28].values())
    figures.append(Figure("each fault is detected on the first day", lowest, "28 days of history", "%", at_least=95))
    rows = [f"{name} | {' | '.join(f'{100 * shares[days][name]:.0f} %' for days in shares)}" for name in FAULTS]
    header = f"fault | {' | '.join(f'{days} days' for days in shares)}"
    by_figure = [f"{name} | {count / years:.2f}" for name, count in quiet[4_000][1].most_common(4)]
    tables = [
        Table("Detected on the first day, by days of history", header, rows, f"{histories} histories each."),
        Table("Warnings a year without a reason, four figures", "figure | a year", by_figure, "4,000 sessions a day."),
    ]
    yield f"Written by `python -m benchmarks.learned_ranges --years {years} --write`; every run gives the same figures."
    yield ""
    yield from figure_table(figures)
    yield from table_sections(tables)


def main() -> None:
    """Print the simulation. Exits with 2 for a wrong argument."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.learned_ranges",
        description="Simulate how often learned ranges warn without a reason, and how often they find a fault.",
    )
    parser.add_argument("--years", type=parse_count, default=20, help="quiet years of each size (20)")
    parser.add_argument("--histories", type=parse_count, default=60, help="histories with a fault (60)")
    options = PAGE.read_options(parser, None)
    with terminal().status("simulating"):
        lines = list(page_lines(options.years, options.histories))
    PAGE.publish(lines, options.write)


if __name__ == "__main__":
    main()
