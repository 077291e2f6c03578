"""How good the published lists turned out to be on one day, by what their users first played and what they said.

Watched for alarms: `ndcg@k`, over users with a list of their own who played something it could name, and `useful`.
The others are a diagnosis beside them: `hit@k` (the share of these users with a hit), `lift@k` (ndcg@k minus that
of what is popular with everyone), `coverage@k` and `novelty@k` of the lists, `without_list` (the share of users
that day), `new_tracks` (the share of plays of tracks that came after the model had learned), `model_age_days`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

import numpy as np
import polars as pl
from numpy.typing import NDArray
from psycopg import sql
from psycopg.rows import dict_row

from core.database import Connection, readable_errors
from core.frames import read_frame
from core.queries import load_query
from recommender.monitoring.usefulness import FEEDBACK_COLUMNS, STANDARD_ERRORS, share_of_useful

USEFUL = "useful"
WITHOUT_LIST = "without_list"
NEW_TRACKS = "new_tracks"
MODEL_AGE = "model_age_days"
_DAY_TABLES = {
    "day_plays": "quality/create_day_plays",
    "day_users": "quality/days.create_day_users",
    "day_user_tracks": "quality/days.create_day_user_tracks",
}
_PLAYS: Mapping[str, pl.DataType] = {
    **{"publication_id": pl.Int64(), "pruned": pl.Int64(), "has_list": pl.Int64(), "plays": pl.Int64()},
    **{"plays_of_new": pl.Int64(), "heard": pl.Int64(), "hits": pl.Int64()},
    **{"gain": pl.Float64(), "popular_gain": pl.Float64()},
}


def ndcg(k: int) -> str:
    """The name of the metric that is watched for alarms."""
    return f"ndcg@{k}"


def lift(k: int) -> str:
    """The name of the metric that tells a worse list from other listening."""
    return f"lift@{k}"


@dataclass(frozen=True)
class DayMetric:
    """A mean over `users` users with its 95 % bounds; None where it is no mean, and chance has no part in it."""

    name: str
    value: float
    users: int
    lower: float | None = None
    upper: float | None = None


@dataclass(frozen=True)
class DayQuality:
    """All that was measured of one day (UTC). `why_not` says why nothing could be, `notes` what to know of it."""

    day: date
    publication_id: int | None = None
    metrics: tuple[DayMetric, ...] = ()
    why_not: str = ""
    notes: tuple[str, ...] = ()

    def __getitem__(self, name: str) -> DayMetric | None:
        return next((one for one in self.metrics if one.name == name), None)


@readable_errors()
def measure_day(connection: Connection, day: date, k: int, usual_usefulness: float | None, now: datetime) -> DayQuality:
    """Everything that can be said of one day, within a transaction of the caller. Raises DatabaseError.

    The same plays, lists and answers give the same figures, however late they are asked for. `usual_usefulness` is the
    share of useful answers so far (see `share_of_useful`). A moment of the ledger after `now` is not believed.
    """
    plays = _first_plays(connection, day, k, now)
    if plays.is_empty():
        return DayQuality(day, why_not="nobody played anything while a list was live")
    if int(plays["pruned"].sum()):
        return DayQuality(day, why_not="its lists are no longer kept; raise PUBLICATIONS_KEPT, or monitor in time")
    publication_id = _of_most(plays["publication_id"].to_numpy())
    metrics = [*_of_lists(plays, k), *_of_plays(plays), *_of_publication(connection, day, publication_id, k)]
    answers = read_frame(connection, "quality/copy_feedback", FEEDBACK_COLUMNS, {"day": day})
    useful = share_of_useful(answers, usual_usefulness)
    notes: tuple[str, ...] = ()
    if useful is not None:
        metrics.append(DayMetric(USEFUL, useful.share, useful.effective_users, useful.lower, useful.upper))
        notes = (f"judged without {useful.left_out}",) if useful.left_out else ()
    return DayQuality(day, publication_id, tuple(metrics), notes=notes)


def _first_plays(connection: Connection, day: date, k: int, now: datetime) -> pl.DataFrame:
    """In steps of which Postgres knows the sizes: it plans them all at once as if a day had no plays."""
    for table, query in _DAY_TABLES.items():
        connection.execute(load_query(query), {"day": day, "now": now})
        connection.execute(sql.SQL("analyze {}").format(sql.Identifier(table)))
    plays = read_frame(connection, "quality/copy_user_days", _PLAYS, {"k": k})
    for table in _DAY_TABLES:
        connection.execute(sql.SQL("drop table {}").format(sql.Identifier(table)))
    return plays


def _of_most(publications: NDArray[np.int64]) -> int:
    values, counts = np.unique(publications, return_counts=True)
    return int(values[::-1][np.argmax(counts[::-1])])


def _of_lists(plays: pl.DataFrame, k: int) -> list[DayMetric]:
    asked = plays.filter(pl.col("has_list") == 1, pl.col("heard") > 0)
    if asked.is_empty():
        return []
    ideal = np.cumsum(1 / np.log2(np.arange(2, k + 2)))[np.minimum(asked["heard"].to_numpy(), k) - 1]
    ours, popular = asked["gain"].to_numpy() / ideal, asked["popular_gain"].to_numpy() / ideal
    hit = (asked["hits"].to_numpy() > 0).astype(np.float64)
    return [_mean(ndcg(k), ours, 0, 1), _mean(f"hit@{k}", hit, 0, 1), _mean(lift(k), ours - popular, -1, 1)]


def _of_plays(plays: pl.DataFrame) -> list[DayMetric]:
    missing = 1.0 - plays["has_list"].to_numpy()
    share_of_new = int(plays["plays_of_new"].sum()) / int(plays["plays"].sum())
    return [_mean(WITHOUT_LIST, missing, 0, 1), DayMetric(NEW_TRACKS, share_of_new, len(plays))]


def _of_publication(connection: Connection, day: date, publication_id: int, k: int) -> list[DayMetric]:
    with connection.cursor(row_factory=dict_row) as cursor:
        values = {"publication_id": publication_id, "day": day, "k": k}
        about = cursor.execute(load_query("quality/describe_publication"), values).fetchone()
    if about is None:
        return []
    end = datetime.combine(day, time(), UTC) + timedelta(days=1)
    age = max(0.0, (end - about["learned_until"]).total_seconds() / 86_400)
    found = {f"coverage@{k}": about["coverage"], f"novelty@{k}": about["novelty"], MODEL_AGE: age}
    return [DayMetric(name, float(value), 0) for name, value in found.items() if value is not None]


def _mean(name: str, values: NDArray[np.float64], lowest: float, highest: float) -> DayMetric:
    """With bounds by the normal approximation: mean -/+ 1.96 standard errors."""
    mean, users = float(values.mean()), len(values)
    if users < 2:
        return DayMetric(name, mean, users)
    reach = STANDARD_ERRORS * float(values.std(ddof=1)) / users**0.5
    return DayMetric(name, mean, users, max(lowest, mean - reach), min(highest, mean + reach))
