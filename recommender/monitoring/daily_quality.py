"""Evaluate the published recommendations of one day by the plays and the feedback of their users.

A played track is relevant if the recommendations could contain it: the user had not played it before, or played tracks
are not excluded. Drift alarms use the first two metrics. The others help to find the cause.

Each track counts by its rank in the list that the user saw at the start of the session in which they first played it on
that day: their newest fresh recommendations of the publication, or their published ones.

- `ndcg@k`: mean over users with their own recommendations who played a relevant track, each at most 1
- `useful`: share of useful feedback
- `hit@k`: share of the users of `ndcg@k` with a relevant track in the first k
- `lift@k`: `ndcg@k` minus the NDCG of the tracks that are popular with all users
- `coverage@k` and `novelty@k`: of the recommendations (see `sql/quality/describe_publication.sql`)
- `without_list`: share of active users without recommendations
- `new_tracks`: share of plays whose track is newer than the training data
- `model_age_days`: days from the end of the training data to the end of the day

During an experiment, these are metrics of the users of the control. The outcomes of all its users are recorded for the
comparison of both variants.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta

import numpy as np
import polars as pl
from numpy.typing import NDArray
from psycopg import sql
from psycopg.rows import dict_row

from core.clock import CLOCK_SKEW
from core.database import Connection, readable_errors
from core.frames import read_frame
from core.queries import load_query
from recommender.monitoring.experiment_outcomes import Outcomes, read_variants
from recommender.monitoring.usefulness import FEEDBACK_COLUMNS, STANDARD_ERRORS, share_of_useful

USEFUL = "useful"
WITHOUT_LIST = "without_list"
NEW_TRACKS = "new_tracks"
MODEL_AGE = "model_age_days"
_DAY_TABLES = {
    "day_plays": "quality/create_day_plays",
    "day_users": "quality/days.create_day_users",
    "day_lists": "quality/days.create_day_lists",
    "day_user_tracks": "quality/days.create_day_user_tracks",
}
# The fresh recommendations of at most this many users are kept for the monitor, for at most this many days.
HISTORY_USERS = 5_000
HISTORY_AGE = timedelta(days=14)
_USER_DAY_COLUMNS: Mapping[str, pl.DataType] = {
    **{"user_id": pl.Int64(), "live_id": pl.Int64()},
    **{"publication_id": pl.Int64(), "pruned": pl.Int64(), "has_list": pl.Int64()},
    **{"sampled": pl.Int64(), "plays": pl.Int64()},
    **{"plays_of_new": pl.Int64(), "relevant": pl.Int64(), "hits": pl.Int64()},
    **{"gain": pl.Float64(), "popular_gain": pl.Float64()},
}


def ndcg(k: int) -> str:
    """The name of the ranking metric that can raise a drift alarm."""
    return f"ndcg@{k}"


def lift(k: int) -> str:
    """The name of the metric that distinguishes worse recommendations from changed listening."""
    return f"lift@{k}"


@dataclass(frozen=True)
class DayMetric:
    """A metric of one day, with 95 % bounds if it is a mean over at least two users. Otherwise the bounds are None.

    `users` is 0 for a metric of the publication.
    """

    name: str
    value: float
    users: int
    lower: float | None = None
    upper: float | None = None


@dataclass(frozen=True)
class DayQuality:
    """The metrics of one day (UTC). `not_evaluated_reason` is '' for an evaluated day."""

    day: date
    publication_id: int | None = None
    metrics: tuple[DayMetric, ...] = ()
    not_evaluated_reason: str = ""
    notes: tuple[str, ...] = ()

    def __getitem__(self, name: str) -> DayMetric | None:
        return next((metric for metric in self.metrics if metric.name == name), None)


@readable_errors()
def measure_day(
    connection: Connection,
    day: date,
    k: int,
    usual_usefulness: float | None,
    now: datetime,
    plays: DayQuality | None = None,
) -> DayQuality:
    """Evaluate one day. The caller opens the transaction. Raises DatabaseError.

    The same plays, recommendations and feedback always give the same metrics. `usual_usefulness` is the share of
    useful answers on earlier days, None if unknown. `plays` is the result of `measure_plays`, if it was measured
    before.
    """
    quality = plays or measure_plays(connection, day, k, now)
    if quality.not_evaluated_reason:
        return quality
    answers = read_variants(connection, day).without_treatment(read_answers(connection, day))
    useful = share_of_useful(answers, usual_usefulness)
    if useful is None:
        return quality
    metric = DayMetric(USEFUL, useful.share, useful.effective_users, useful.lower, useful.upper)
    notes = (f"judged without {useful.left_out}",) if useful.left_out else ()
    return replace(quality, metrics=(*quality.metrics, metric), notes=notes)


@readable_errors()
def measure_plays(connection: Connection, day: date, k: int, now: datetime) -> DayQuality:
    """Evaluate the plays of one day, which takes nearly all of the time, and depends on no other day.

    The caller opens the transaction. Publication times after `now` are ignored, because a wrong clock wrote them.
    Raises DatabaseError.
    """
    all_user_days = _read_user_days(connection, day, k, now)
    user_days = read_variants(connection, day).without_treatment(all_user_days)
    if user_days.is_empty():
        return DayQuality(day, not_evaluated_reason="no user played anything while recommendations were live")
    if int(all_user_days["pruned"].sum()):
        reason = "the recommendations of this day were pruned; raise PUBLICATIONS_KEPT, or run the monitor every day"
        return DayQuality(day, not_evaluated_reason=reason)
    publication_id = _most_used_publication(user_days["publication_id"].to_numpy())
    metrics = (
        *_ranking_metrics(user_days, k),
        *_play_metrics(user_days),
        *_publication_metrics(connection, day, publication_id, k),
    )
    return DayQuality(day, publication_id, metrics)


@readable_errors()
def measure_outcomes(connection: Connection, day: date, k: int, now: datetime) -> Outcomes:
    """The outcomes of users who got a variant of an experiment on a day; none if no experiment was served.

    The caller opens the transaction. Raises DatabaseError.
    """
    variants = read_variants(connection, day)
    if variants.rows.is_empty():
        return []
    user_days = _read_user_days(connection, day, k, now)
    gains = _with_gain(user_days, k).select("user_id", "publication_id", pl.col("gain").alias("ndcg"))
    return variants.outcomes(user_days, gains, read_answers(connection, day))


def read_answers(connection: Connection, day: date) -> pl.DataFrame:
    """Read the answers that count on a day, with columns as in FEEDBACK_COLUMNS. Raises psycopg.Error."""
    values = {"day": day, "max_users": HISTORY_USERS, "clock_skew": CLOCK_SKEW}
    return read_frame(connection, "quality/copy_feedback", FEEDBACK_COLUMNS, values)


def _read_user_days(connection: Connection, day: date, k: int, now: datetime) -> pl.DataFrame:
    """Read one row per user who played: publication, plays, relevant tracks and hits.

    Each temporary table is analyzed, so that Postgres plans the next query with the actual number of rows.
    """
    for table, query in _DAY_TABLES.items():
        connection.execute(load_query(query), {"day": day, "now": now, "history_from": now - HISTORY_AGE})
        connection.execute(sql.SQL("analyze {}").format(sql.Identifier(table)))
    values = {"day": day, "k": k, "max_users": HISTORY_USERS}
    user_days = read_frame(connection, "quality/copy_user_days", _USER_DAY_COLUMNS, values)
    for table in _DAY_TABLES:
        connection.execute(sql.SQL("drop table {}").format(sql.Identifier(table)))
    return user_days


def _most_used_publication(publications: NDArray[np.int64]) -> int:
    """The publication of most users. If several have equally many, the newest."""
    ids, counts = np.unique(publications, return_counts=True)
    return int(ids[::-1][np.argmax(counts[::-1])])


def _ranking_metrics(user_days: pl.DataFrame, k: int) -> list[DayMetric]:
    users = _with_gain(user_days, k)
    if users.is_empty():
        return []
    gain, popular_gain = users["gain"].to_numpy(), users["popular_gain"].to_numpy()
    hit = (users["hits"].to_numpy() > 0).astype(np.float64)
    return [
        _mean(ndcg(k), gain, 0, 1),
        _mean(f"hit@{k}", hit, 0, 1),
        _mean(lift(k), gain - popular_gain, -1, 1),
    ]


def _with_gain(user_days: pl.DataFrame, k: int) -> pl.DataFrame:
    """The users who count for ranking metrics; both gains are divided by the gain of an ideal list."""
    users = user_days.filter(pl.col("has_list") == 1, pl.col("sampled") == 1, pl.col("relevant") > 0)
    ideal = np.cumsum(1 / np.log2(np.arange(2, k + 2)))[np.minimum(users["relevant"].to_numpy(), k) - 1]
    # Lists that change during a day can have more tracks at the top ranks than one list has, so the gain can exceed the
    # ideal.
    gain = np.minimum(1, users["gain"].to_numpy() / ideal)
    popular_gain = users["popular_gain"].to_numpy() / ideal
    return users.with_columns(pl.Series("gain", gain), pl.Series("popular_gain", popular_gain))


def _play_metrics(user_days: pl.DataFrame) -> list[DayMetric]:
    without_recommendations = 1.0 - user_days["has_list"].to_numpy()
    share_of_new = int(user_days["plays_of_new"].sum()) / int(user_days["plays"].sum())
    return [
        _mean(WITHOUT_LIST, without_recommendations, 0, 1),
        DayMetric(NEW_TRACKS, share_of_new, len(user_days)),
    ]


def _publication_metrics(connection: Connection, day: date, publication_id: int, k: int) -> list[DayMetric]:
    with connection.cursor(row_factory=dict_row) as cursor:
        parameters = {"publication_id": publication_id, "day": day, "k": k}
        publication = cursor.execute(load_query("quality/describe_publication"), parameters).fetchone()
    if publication is None:
        return []
    end = datetime.combine(day, time(), UTC) + timedelta(days=1)
    age = max(0.0, (end - publication["learned_until"]).total_seconds() / 86_400)
    metrics = {f"coverage@{k}": publication["coverage"], f"novelty@{k}": publication["novelty"], MODEL_AGE: age}
    return [DayMetric(name, float(value), 0) for name, value in metrics.items() if value is not None]


def _mean(name: str, values: NDArray[np.float64], lowest: float, highest: float) -> DayMetric:
    """The mean with bounds of 1.96 standard errors (normal approximation), clipped to the range of the metric."""
    mean, users = float(values.mean()), len(values)
    if users < 2:
        return DayMetric(name, mean, users)
    margin = STANDARD_ERRORS * float(values.std(ddof=1)) / users**0.5
    return DayMetric(name, mean, users, max(lowest, mean - margin), min(highest, mean + margin))
