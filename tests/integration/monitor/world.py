"""Users, publications and plays in plain SQL, so that metrics can be calculated by hand."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import psycopg

from core.database import connect
from core.queries import load_query
from recommender.evaluation.promotion import Decision
from recommender.models.recipe import Recipe
from recommender.monitoring import daily_quality, quality_monitor
from recommender.monitoring.daily_quality import DayQuality
from recommender.monitoring.drift import CusumSettings
from recommender.monitoring.quality_monitor import DayEvaluation, MonitoringSettings
from recommender.publishing import model_runs
from recommender.publishing.model_runs import TrainingCause, TrainingOutcome
from tests.warehouse_data import Session, WarehouseData, add_sessions, fill_warehouse

Connection = psycopg.Connection[Any]

FIRST = date(2024, 4, 1)
RULES = MonitoringSettings(
    k=20, plays=CusumSettings(h=3, warm_up=4), useful=CusumSettings(h=3, warm_up=4), users=5, cool_down_days=10
)
NOW = datetime(2024, 6, 1, tzinfo=UTC)


def day(number: int) -> date:
    """The day with this number, from 0."""
    return FIRST + timedelta(number)


def at(number: int, hour: float = 12) -> datetime:
    """A time on that day, in UTC."""
    return datetime.combine(day(number), time(), UTC) + timedelta(hours=hour)


def populate(database: str, users: Iterable[int], tracks: Iterable[int]) -> None:
    """Insert users with recognisable names, and tracks, without plays."""
    fill_warehouse(database, WarehouseData(dict.fromkeys(users, "Rock"), list(tracks)))
    with connect(database) as connection:
        connection.execute(
            "update warehouse.users set first_name = 'Firstname' || id, last_name = 'Lastname' || id,"
            " email = 'mail' || id || '@private.example'"
        )
        for table in ("users", "tracks"):
            connection.execute(f"update warehouse.{table} set created_at = '2024-01-01'")
        connection.execute("insert into serving.api_keys values ('app', 'our app', '', '{}', '2024-04-01')")


def insert_model_run(
    connection: Connection, learned_until: datetime, decision: str = "published", cause: str = "asked"
) -> int:
    """Insert a finished model run, or a running one that takes over the open alarms; return its id."""
    number = _number(
        connection,
        "insert into ml.model_runs (model, seed, data_as_of, batches, code_version, decision, started_at, cause)"
        " values ('ease', 0, %s, '{}', 'v', %s, '2024-04-01', %s) returning model_run_id",
        [learned_until, decision, cause],
    )
    if decision == "running":
        values = {"model_run_id": number, "data_as_of": learned_until}
        connection.execute(load_query("quality/alarms.assign_alarms"), values)
    return number


def record_training(connection: Connection, decision: Decision, cause: TrainingCause = "degradation") -> int:
    """Record a training on all current data with this decision; return its id."""
    run = model_runs.start_model_run(
        connection,
        recipe=Recipe("ease"),
        seed=0,
        data_as_of=NOW,
        batches=[],
        code_version="v",
        now=NOW,
        cause=cause,
    )
    model_runs.record_outcome(connection, run, TrainingOutcome(Recipe("ease"), decision, "because"), NOW)
    return run


def create_publication(
    connection: Connection,
    lists: Mapping[int, Sequence[int]],
    popular: Sequence[int] = (),
    *,
    data_as_of: datetime | None = None,
    learned_until: datetime | None = None,
    excludes_played: bool = True,
) -> int:
    """Create a publication from plays before `data_as_of`; return its id."""
    data_end = data_as_of or at(-1)
    run = insert_model_run(connection, learned_until or data_end)
    number = _number(
        connection,
        "insert into ml.publications (model_run_id, flow, status, data_as_of, batches, made_at, excludes_played)"
        " values (%s, 'test', 'published', %s, '{}', '2024-04-01', %s) returning publication_id",
        [run, data_end, excludes_played],
    )
    part = f"ml.recommendations_{number}"
    connection.execute(f"create table {part} (like ml.recommendations, primary key (user_id, rank))")
    with (
        connection.cursor() as cursor,
        cursor.copy(f"copy {part} (publication_id, user_id, rank, track_id, score) from stdin") as copy,
    ):
        for user, tracks in lists.items():
            for rank, track in enumerate(tracks, 1):
                copy.write_row((number, user, rank, track, 1 / rank))
    connection.execute(f"alter table ml.recommendations attach partition {part} for values in ({number})")
    with connection.cursor() as cursor:
        cursor.executemany(
            "insert into ml.fallbacks values (%s, '', %s, %s, 0)",
            [(number, rank, track) for rank, track in enumerate(popular, 1)],
        )
    return number


def go_live(connection: Connection, publication: int, moment: datetime) -> None:
    """Publish a publication, or roll back to it."""
    connection.execute(
        "insert into ml.live_publications (publication_id, live_from, why) values (%s, %s, 'test')",
        [publication, moment],
    )


def show_fresh(connection: Connection, publication: int, user: int, tracks: Sequence[int], moment: datetime) -> None:
    """Show fresh recommendations from a moment on; without tracks, remove them. The consumer records both."""
    connection.execute(
        "insert into ml.fresh_recommendation_history (publication_id, user_id, track_ids, shown_from)"
        " values (%s, %s, %s, %s)",
        [publication, user, list(tracks), moment],
    )


def prune(connection: Connection, publication: int) -> None:
    """Prune a publication, like retention."""
    connection.execute("update ml.publications set pruned_at = '2024-04-01' where publication_id = %s", [publication])
    connection.execute(f"drop table ml.recommendations_{publication}")


def insert_batch(connection: Connection, number: int, status: str = "published", revision: int = 1) -> None:
    """Insert the listen_history batch of a day into the ledger."""
    suffix = "" if revision == 1 else f"-r{revision}"
    connection.execute(
        "insert into ops.batches (batch_id, endpoint, day, revision, source, status, started_at)"
        " values (%s, 'listen_history', %s, %s, 'http://source', %s, '2024-04-01')",
        [f"listen_history-{day(number)}{suffix}", day(number), revision, status],
    )


def add_plays(connection: Connection, *plays: tuple[int, datetime, tuple[int, ...]]) -> None:
    """Insert sessions: user, time, tracks."""
    add_sessions(connection, [Session(*play) for play in plays])


def add_feedback(
    connection: Connection,
    user: int,
    track: int,
    useful: bool,
    moment: datetime,
    *,
    publication: int | None = 1,
    key: str = "app",
    changed: datetime | None = None,
) -> None:
    """Insert feedback; `changed` is the time of its last change."""
    connection.execute(
        "insert into serving.api_keys values (%s, 'k', '', '{}', '2024-04-01') on conflict do nothing", [key]
    )
    connection.execute(
        "insert into ml.feedback values (%s, %s, %s, %s, %s, %s, %s)",
        [user, track, publication, useful, key, moment, changed or moment],
    )


def measure(
    connection: Connection, number: int, k: int = 20, usual: float | None = None, now: datetime = NOW
) -> DayQuality:
    """Measure a day without recording it."""
    with connection.transaction():
        return daily_quality.measure_day(connection, day(number), k, usual, now)


def evaluate_due_days(
    connection: Connection, rules: MonitoringSettings = RULES, now: datetime = NOW
) -> list[DayEvaluation]:
    """Evaluate all due days, like the flow."""
    return [
        quality_monitor.evaluate_day(connection, due, rules, now)
        for due in quality_monitor.days_to_evaluate(connection, now)
    ]


def values(quality: DayQuality) -> dict[str, float]:
    """Metric values by name."""
    return {metric.name: metric.value for metric in quality.metrics}


def _number(connection: Connection, text: str, parameters: Sequence[Any]) -> int:
    row = connection.execute(text, parameters).fetchone()  # type: ignore[call-overload]
    assert row
    return int(row[0])
