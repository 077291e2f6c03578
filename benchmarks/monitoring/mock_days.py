"""Daily quality of the mock's users: what they played first each day, against their recommendations of that day."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta

import numpy as np
import polars as pl
from numpy.typing import NDArray

from benchmarks.minimal_loader import fetch_rows
from benchmarks.processes import Show
from benchmarks.source import BASE_DAY, run_mock_server
from recommender.data.interactions import ARTIST, GENRE
from recommender.data.item_attributes import attribute_codes
from recommender.data.play_log import PlayLog
from recommender.evaluation.metrics import hits, ndcg_at
from recommender.evaluation.splitting import split_by_time
from recommender.models.ease import EASE

Values = NDArray[np.float64]
Days = list[Values]
"""The values of each day: one value per user who played a new track on it."""

K = 20
_TREND_DEGREE = 2


@dataclass(frozen=True)
class MockPopulation:
    """A fixed set of users and tracks. The first days are training data, the later days are evaluated."""

    users: int = 8_000
    tracks: int = 3_000
    sessions_a_day: int = 1_400
    training_days: int = 20
    days: int = 84
    seed: int = 7

    def __str__(self) -> str:
        sizes = f"{self.users:,} users, {self.tracks:,} tracks, {self.sessions_a_day:,} sessions a day"
        return f"{sizes}, {self.training_days} training days and {self.days} evaluated days"

    @property
    def options(self) -> list[str]:
        """The command line of the mock, on the day after the last evaluated one."""
        sessions, start = self.sessions_a_day * self.training_days, BASE_DAY - timedelta(days=self.training_days)
        day, daily = BASE_DAY + timedelta(days=self.days), self.sessions_a_day / sessions
        return (
            f"--port 0 --seed {self.seed} --start {start} --base-day {BASE_DAY} --day {day} --users {self.users}"
            f" --tracks {self.tracks} --sessions {sessions} --new-sessions {daily} --growth 0 --updates 0 --removals 0"
        ).split()


def evaluate_days(world: MockPopulation, show: Show) -> Days:
    """NDCG of each user on each day of the mock, for tracks never played before.

    The model is trained once, on the days before the first. Recommendations use the plays up to each midnight and
    exclude played tracks, as in production.
    """
    show("reading the mock's plays")
    with run_mock_server(*world.options) as api_url:
        users = fetch_rows(f"{api_url}/users")
        log = replace(read_play_log(api_url), known_users=np.array([user["id"] for user in users]))
    first = np.datetime64(BASE_DAY)
    model = EASE().fit(log.interactions(first))
    days = []
    for number in range(world.days):
        show(f"day {number + 1} of {world.days} of the mock")
        days.append(_evaluate_day(model, log, first + np.timedelta64(number)))
    return days


def remove_trend(days: Days) -> Days:
    """Scale the days so that a parabola through their means becomes flat at the overall mean."""
    means, numbers = np.array([values.mean() for values in days]), np.arange(len(days))
    trend = np.polynomial.Polynomial.fit(numbers, means, _TREND_DEGREE)(numbers)
    return [values * means.mean() / level for values, level in zip(days, trend, strict=True)]


def _evaluate_day(model: EASE, log: PlayLog, day: np.datetime64) -> Values:
    before, holdout = split_by_time(plays_before(log, day + np.timedelta64(1)), day)
    ranking = model.fold_in(before).recommend(holdout.users, K, exclude=before)
    return ndcg_at(hits(ranking, holdout, K), holdout, K)


def read_play_log(api_url: str) -> PlayLog:
    """Every play of the mock API at the time when its session was created, with the artists and genres of tracks."""
    tracks = fetch_rows(f"{api_url}/tracks")
    rows = fetch_rows(f"{api_url}/listen_history")
    sessions = [session for session in rows if session["user_id"] and session["items"]]
    lengths = [len(session["items"]) for session in sessions]
    return PlayLog(
        np.repeat(np.array([session["user_id"] for session in sessions], np.int64), lengths),
        np.array([track for session in sessions for track in session["items"]], np.int64),
        np.ones(sum(lengths), np.float32),
        np.repeat(np.array([session["created_at"] for session in sessions], "datetime64[us]"), lengths),
        catalogue=np.array([track["id"] for track in tracks], np.int64),
        item_attributes={
            kind: attribute_codes(pl.Series([track[field] for track in tracks]))
            for kind, field in ((ARTIST, "artist"), (GENRE, "genres"))
        },
    )


def plays_before(log: PlayLog, moment: np.datetime64) -> PlayLog:
    """The same log without later plays."""
    is_earlier = log.played_at < moment
    columns = {name: getattr(log, name)[is_earlier] for name in ("users", "tracks", "plays", "played_at")}
    return replace(log, **columns)
