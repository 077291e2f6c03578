"""What the mock's listeners first played each day, against the lists that they would have had on that day."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import numpy as np
import requests
from numpy.typing import NDArray

from benchmarks.processes import Show
from benchmarks.source import BASE_DAY, started_mock
from recommender.data.play_log import PlayLog
from recommender.evaluation.metrics import hits, ndcg_at
from recommender.evaluation.splitting import split_by_time
from recommender.models.ease import EASE

Values = NDArray[np.float64]
Days = list[Values]
"""The values of one day each: one value per listener who played anything new on it."""

PLACES = 20
_PAGE_SIZE = 100
_DEGREE = 2  # of the trend


@dataclass(frozen=True)
class MockWorld:
    """Listeners and tracks that stay the same, and so many sessions a day: first to learn from, then to be judged."""

    users: int = 8_000
    tracks: int = 3_000
    sessions_a_day: int = 1_400
    days_to_learn: int = 20
    days: int = 84
    seed: int = 7

    def __str__(self) -> str:
        sizes = f"{self.users:,} users, {self.tracks:,} tracks, {self.sessions_a_day:,} sessions a day"
        return f"{sizes}, {self.days_to_learn} days to learn from and {self.days} days to be judged"

    @property
    def options(self) -> list[str]:
        """The mock's command line, on the day after the last one that is judged."""
        first, sessions = BASE_DAY - timedelta(days=self.days_to_learn), self.sessions_a_day * self.days_to_learn
        said: dict[str, object] = {
            "port": 0,
            "seed": self.seed,
            "start": first,
            "base-day": BASE_DAY,
            "day": BASE_DAY + timedelta(days=self.days),
            "users": self.users,
            "tracks": self.tracks,
            "sessions": sessions,
            "new-sessions": self.sessions_a_day / sessions,
            "growth": 0,
            "updates": 0,
            "removals": 0,
        }
        return [text for name, value in said.items() for text in (f"--{name}", str(value))]


def judge_days(world: MockWorld, show: Show) -> Days:
    """NDCG of each listener on each day of the mock: of tracks never played before, against that day's list.

    The model learns once, from the days before the first; its lists follow the plays up to each midnight, as live
    lists do, and name nothing that was played before.
    """
    show("reading the mock's plays")
    with started_mock(*world.options) as api_url:
        log = _read_plays(api_url)
    first = np.datetime64(BASE_DAY)
    model = EASE().fit(log.interactions(first))
    days = []
    for number in range(world.days):
        show(f"day {number + 1} of {world.days} of the mock's listeners")
        days.append(_judge(model, log, first + np.timedelta64(number)))
    return days


def without_trend(days: Days) -> Days:
    """The same days, scaled so that a parabola through their means becomes flat at the mean of them all."""
    means = np.array([values.mean() for values in days])
    numbers = np.arange(len(days))
    trend = np.polynomial.Polynomial.fit(numbers, means, _DEGREE)(numbers)
    return [values * means.mean() / level for values, level in zip(days, trend, strict=True)]


def _judge(model: EASE, log: PlayLog, day: np.datetime64) -> Values:
    until = log.played_at < day + np.timedelta64(1)
    past = replace(
        log, users=log.users[until], tracks=log.tracks[until], plays=log.plays[until], played_at=log.played_at[until]
    )
    before, holdout = split_by_time(past, day)
    ranking = model.fold_in(before).recommend(holdout.users, PLACES, exclude=before)
    return ndcg_at(hits(ranking, holdout, PLACES), holdout, PLACES)


def _read_plays(api_url: str) -> PlayLog:
    """Every play of every session, at the time the session was created."""
    with requests.Session() as session:
        everyone, catalogue = ([row["id"] for row in _rows(session, api_url, name)] for name in ("users", "tracks"))
        plays = [
            (row["user_id"], track, row["created_at"])
            for row in _rows(session, api_url, "listen_history")
            for track in row["items"]
        ]
    users, tracks, times = zip(*plays, strict=True)
    return PlayLog(
        np.array(users),
        np.array(tracks),
        np.ones(len(plays)),
        np.array(times, "datetime64[us]"),
        known_users=np.array(everyone),
        catalogue=np.array(catalogue),
    )


def _rows(session: requests.Session, api_url: str, endpoint: str) -> Iterator[dict[str, Any]]:
    number, pages = 1, 1
    while number <= pages:
        answer = session.get(f"{api_url}/{endpoint}", params={"page": number, "size": _PAGE_SIZE}, timeout=60)
        answer.raise_for_status()
        page = answer.json()
        pages, number = page["pages"], number + 1
        yield from page["items"]
