"""A ledger of many nights in plain SQL, with trainings, publications and plays, for tests of the console."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

from tests.integration.serving.api import go_live, populate, stage
from tests.integration.serving.run_history import MAIL, PERSON

KEPT_PUBLICATIONS = 14
HARM = "<script>alert(1)</script>"

_NIGHTS = """
create temporary table nights on commit drop as
select
    day::date as day,
    row_number() over (order by day) as number,
    4300 + 12 * row_number() over (order by day) / 30 + case when extract(isodow from day) > 5 then 900 else 0 end
        + (hashtext(day::text) %% 120) as sessions
from generate_series(%(today)s::date - %(days)s::integer + 1, %(today)s::date, '1 day') as day;

insert into ops.batches (
    batch_id, endpoint, day, revision, source, status, rows_reported, rows_landed, rows_rejected, rows_duplicate,
    rows_unchanged, rows_staged, rows_inserted, rows_updated, rows_removed, plays_rejected, started_at, finished_at
)
select
    endpoint || '-' || day, endpoint, day, 1, 'http://127.0.0.1:8000', 'published', rows, rows, rejected, 2,
    rows - rejected - 2 - changed, changed, changed - 5, 5, 1, case endpoint when 'listen_history' then 3 else 0 end,
    day + interval '3 hours', day + interval '3 hours' + interval '1 second' * (40 + number %% 25)
from nights
cross join lateral (
    values ('tracks', 9000 + number, 80, 2), ('users', 2400 + number, 25, 1),
        ('listen_history', 200000 + 4400 * number, sessions, 4)
) as endpoints (endpoint, rows, changed, rejected);

insert into ops.expectation_results (
    batch_id, expectation, "column", severity, success, unexpected_count, unexpected_share, observed_value, description,
    value, lower, upper
)
select
    batch_id, rule, "column", severity, true, case when "column" is null then null else 0 end, null,
    case when "column" is null then round((100 * value)::numeric, 2) || ' %%' else 'no row breaks it' end, requirement,
    case when "column" is null then value end, null, case when "column" is null then upper end
from ops.batches
cross join lateral (
    values
        ('rejects_are_few', null, 'critical', 'at most 5 %% of the rows of the API were rejected',
            rows_rejected::float / rows_landed, 0.05),
        ('conflicts_are_few', null, 'critical', 'at most 1 %% of the rows conflict with the kept row of the same key',
            0.0, 0.01),
        ('removals_are_few', null, 'warning', 'at most 10 %% of the published rows disappeared', 0.0005, 0.1),
        ('id_is_given', 'id', 'critical', 'a row has an id', 0, 0),
        ('id_is_unique', 'id', 'critical', 'an id comes once', 0, 0),
        ('timestamps_are_possible', 'created_at', 'critical', 'times lie between 1970 and 2200', 0, 0)
) as rules (rule, "column", severity, requirement, value, upper);
insert into ops.expectation_results (batch_id, expectation, "column", severity, success, unexpected_count, description)
select batch_id, 'rule_' || rule, 'id', 'warning', true, 0, 'rule ' || rule || ' holds'
from ops.batches, generate_series(1, 22) as rule;

insert into ops.batch_figures (batch_id, figure, value, total, expected, lower, upper, is_normal)
select 'listen_history-' || day, figure, value, 0, expected, expected * (1 - spread), expected * (1 + spread), true
from nights
cross join lateral (
    values ('sessions', sessions::float,
            4300 + 12 * number / 30 + case when extract(isodow from day) > 5 then 900 else 0 end, 0.08),
        ('plays_per_session', 4.9 + 0.001 * (sessions %% 90), 4.95, 0.05),
        ('sessions_per_active_user', 1.8 + 0.001 * (sessions %% 70), 1.83, 0.06),
        ('rejected_share', 0.0009, 0.0009, 0.5)
) as figures (figure, value, expected, spread);

insert into ops.runs (flow, day, started_at, finished_at, outcome)
select flow, day, day + interval '3 hours' + start, day + interval '3 hours' + start + took, outcome
from nights
cross join lateral (
    values ('ingest', interval '0', interval '150 seconds', 'published'),
        ('monitor', interval '3 minutes', interval '20 seconds', 'published'),
        ('recommend', interval '4 minutes', interval '70 seconds', 'published')
) as runs (flow, start, took, outcome)
order by day, start;
insert into ops.run_batches
select run.run_id, batch.batch_id
from ops.runs as run
join ops.batches as batch using (day)
where run.flow = 'ingest';
insert into ops.task_runs
select run_id, task, flow, started_at, 8 + run_id %% 5, 6 + run_id %% 4, 380, true
from ops.runs, unnest(array['land', 'shape', 'stage', 'audit', 'publish']) as task;

insert into ops.rejected_rows (batch_id, endpoint, row_position, raw_json, reason)
select batch_id, endpoint, position, %(raw)s, case when position = 1 then 'duration: not MM:SS' else 'id: missing' end
from ops.batches, generate_series(1, 2) as position;

insert into ml.quality_metrics
select metric, day, base + 0.002 * (number %% 5) - 0.004, 260 + number %% 30, base - 0.02, base + 0.02, %(publication)s,
    true, day + interval '1 day'
from nights, (
    values ('ndcg@20', 0.182), ('useful', 0.71), ('coverage@20', 0.6), ('without_list', 0.02)
) as metrics (metric, base)
where day < %(today)s::date;
insert into ml.decisions (kind, day, verdict, why, decided_at)
select 'day', day, 'steady', 'fell by 0.' || number %% 9 || ' standard deviations', day + interval '27 hours'
from nights
where day < %(today)s::date
order by day;
insert into ml.popular_tracks (publication_id, period, genre, rank, track_id, users)
select %(publication)s, 'month', '', track_id, track_id, 400 - track_id
from generate_series(1, 50) as track_id;
"""
_TRAINING = """
insert into ml.model_runs (
    model, params, metrics, seed, data_as_of, batches, code_version, decision, why, started_at, finished_at, cause
)
select
    'ease', '{"l2": 320}', %(metrics)s, 7, day, '{}', 'a1b2c3d',
    case when number %% 3 = 1 then 'published' else 'kept' end,
    case when number %% 3 = 1
        then 'ease: ndcg@20 0.1840 on 640 users, first plays of the last 7 days; against the champion: +0.0110'
        else 'the champion stays (ease: ndcg@20 0.1790; against the champion: +0.0004, not beyond chance)' end,
    day + interval '5 hours', day + interval '5 hours 11 minutes',
    case when number %% 4 = 2 then 'degradation' else 'asked' end
from (
    select day, row_number() over (order by day) as number
    from generate_series(%(today)s::date - %(days)s::integer + 1, %(today)s::date, '7 days') as day
) as weeks
"""


def _figures(ndcg: float, fit: float, memory: int, **settings: Any) -> dict[str, Any]:
    return {
        "settings": settings,
        "options": "plays as played",
        "ndcg_choosing": ndcg - 0.002,
        "ndcg": ndcg,
        "ndcg_lower": ndcg - 0.012,
        "ndcg_upper": ndcg + 0.012,
        "recall": ndcg * 1.2,
        "coverage": 0.61,
        "novelty": 8.4,
        "fit_seconds": fit,
        "score_seconds": 1.1,
        "peak_memory_mb": memory,
    }


METRICS = {
    "exam": "640 users, first plays of the last 7 days",
    "k": 20,
    "models": {
        "popularity": _figures(0.093, 0.1, 210),
        "ease": _figures(0.184, 6.2, 540, l2=320.0),
        "als": _figures(0.171, 9.8, 410, factors=64, alpha=40.0),
        "graph-filter": _figures(0.178, 14.1, 620, singular_vectors=256),
    },
    "out": {"blend": "it took longer than 600 s"},
    "gate": {
        "popularity": {"mean": 0.091, "lower": 0.079, "upper": None, "listeners": 320, "why_not": ""},
        "the champion": {"mean": 0.011, "lower": 0.002, "upper": None, "listeners": 320, "why_not": ""},
    },
}


def console_history(connection: psycopg.Connection[Any], now: datetime, days: int) -> int:
    """Insert `days` successful nights that end with today, weekly trainings, publications and plays.

    Returns the live publication. User 900 has a name and an e-mail address in the warehouse, and hostile titles exist.
    """
    with connection.transaction():
        populate(connection)
        connection.execute(
            "insert into warehouse.users values (900, %s, 'Z', %s, 'f', 'Rock', %s, %s, null, 0, 'b')",
            [PERSON, MAIL, now, now],
        )
        connection.execute("update warehouse.tracks set name = %s where id = 100", [HARM])
        lists = {user: [1 + (user * 7 + rank * 3) % 100 for rank in range(20)] for user in (*range(1, 21), 900)}
        for number in range(min(days, KEPT_PUBLICATIONS)):
            moved = {user: tracks[number % 3 :] + tracks[: number % 3] for user, tracks in lists.items()}
            similar = {track: [1 + (track + step) % 100 for step in range(1, 9)] for track in range(1, 101)}
            publication = stage(connection, moved, fallbacks={"": list(range(1, 30))}, similar=similar)
            go_live(connection, publication)
        connection.execute("update ml.publications set listeners = 2400, rows = 48000, tracks_covered = 5200")
        connection.execute(
            "update ml.live_publications set live_from = %s::timestamptz - interval '9 hours'"
            " - ((select max(live_id) from ml.live_publications) - live_id) * interval '1 day', why = 'refreshed'",
            [now],
        )
        parameters = {"today": now.date(), "days": days, "publication": publication, "raw": f"raw {MAIL}"}
        for text in _NIGHTS.split(";\n"):
            if text.strip():
                connection.execute(text, parameters)
        connection.execute("update ml.recommendations set because_track_id = 1 + (track_id + 30) % 90")
        connection.execute(_TRAINING, parameters | {"metrics": Jsonb(METRICS)})
        connection.execute(
            "update ml.publications set model_run_id = (select max(model_run_id) from ml.model_runs"
            " where decision = 'published' and model = 'ease')"
        )
        _insert_experiment(connection, now)
        _insert_plays(connection, now)
    return publication


def _insert_plays(connection: psycopg.Connection[Any], now: datetime) -> None:
    """Fourteen sessions of three tracks for each of the users 1 to 20."""
    for table in ("listen_history", "listen_history_tracks"):
        connection.execute(f"create table warehouse.{table}_of_test partition of warehouse.{table} default")
    parameters = {"now": now}
    connection.execute(
        "insert into warehouse.listen_history (id, user_id, created_at, updated_at, row_hash, batch_id)"
        " select 100 * user_id + day, user_id, %(now)s - day * interval '1 day' - user_id * interval '7 minutes',"
        " %(now)s, 0, 'b'"
        " from generate_series(1, 20) as user_id, generate_series(1, 14) as day",
        parameters,
    )
    connection.execute(
        "insert into warehouse.listen_history_tracks (listen_history_id, position, track_id, created_at)"
        " select id, position, 1 + (user_id * 5 + position * extract(day from created_at)::integer) % 99, created_at"
        " from warehouse.listen_history, generate_series(1, 3) as position"
    )
    connection.execute(
        "insert into mart.user_track_plays"
        " select user_id, track_id, count(*), min(listened_at), max(listened_at) from mart.fact_listens group by 1, 2"
    )


def break_last_night(connection: psycopg.Connection[Any], now: datetime) -> None:
    """Block the sessions of today, fail a rule about rows, open a drift alarm, and let the ingest fail."""
    batch_id = f"listen_history-{now.date()}"
    for text in (
        "update ops.batches set status = 'blocked', rows_rejected = 31200,"
        " reason = 'rejected share 12.4 %% is above 5 %%; not true of 42 rows: an id comes once'"
        " where batch_id = %(batch)s",
        "update ops.expectation_results set success = false, value = 0.124, observed_value = '12.4 %%',"
        " description = 'rejected share 12.4 %% is above 5 %%'"
        " where batch_id = %(batch)s and expectation = 'rejects_are_few'",
        "update ops.expectation_results set success = false, unexpected_count = 42, value = 42,"
        " observed_value = '42 rows', description = 'not true of 42 rows: an id comes once'"
        " where batch_id = %(batch)s and expectation = 'id_is_unique'",
        "insert into ops.quarantined_rows"
        " select %(batch)s, 'id_is_unique', 'id', user_id || ' 2026-11-21T04:00:00+00:00'"
        " from generate_series(1, 42) as user_id",
        "update ops.batch_figures set value = 1204, is_normal = false"
        " where batch_id = %(batch)s and figure = 'sessions'",
        "update ops.runs set outcome = 'failed' where flow = 'ingest' and day = %(today)s",
        "insert into ml.alarms (metric, day, value, baseline, statistic, publication_id, raised_at)"
        " select 'ndcg@20', %(today)s::date - 2, 0.101, 0.182, 6.1, max(publication_id), %(now)s from ml.publications",
        "update ml.quality_metrics set value = 0.101, lower = 0.08, upper = 0.12"
        " where metric = 'ndcg@20' and day = %(today)s::date - 2",
    ):
        connection.execute(text, {"batch": batch_id, "today": now.date(), "now": now})


def look_result(comparisons: dict[str, tuple[float, float, float]], verdict: str) -> dict[str, Any]:
    """The result of a look at an experiment. `comparisons`: control, treatment, half the width of the bounds."""
    compared: dict[str, Any] = {
        name: {
            "control_users": 640,
            "treatment_users": 655,
            "control": control,
            "treatment": treatment,
            "difference": treatment - control,
            "lower": treatment - control - margin,
            "upper": treatment - control + margin,
        }
        for name, (control, treatment, margin) in comparisons.items()
    }
    shares = {"without_list": [0.02, 0.021], "coverage": [0.61, 0.44], "control_users": 1210, "treatment_users": 1194}
    shares["failed_users"] = [3, 5]
    problems = ["the treatment recommends much less of the catalogue"] if verdict == "worse" else []
    return compared | shares | {"problems": problems, "verdict": verdict}


def _insert_experiment(connection: psycopg.Connection[Any], now: datetime) -> None:
    """Experiment 1 has ended, after four looks; at the last one, the treatment violates a guardrail."""
    connection.execute("alter table ml.experiments alter experiment_id restart with 1")
    connection.execute(
        "insert into ml.experiments (control_run_id, treatment_run_id, treatment_share, why, started_at, ended_at,"
        " outcome, outcome_why) select min(model_run_id), max(model_run_id), 0.5, 'ease against popularity',"
        " %(now)s::timestamptz - interval '5 days', %(now)s, 'stopped', 'coverage fell' from ml.model_runs",
        {"now": now},
    )
    for day in range(4):
        comparisons = {"ndcg": (0.18, 0.1843, 0.02 / (day + 1)), "useful": (0.71, 0.7, 0.09 / (day + 1))}
        result = look_result(comparisons | {"plays": (11.5, 11.625, 1.0)}, "worse" if day == 3 else "undecided")
        connection.execute(
            "insert into ml.experiment_looks values (1, %(now)s::date - 4 + %(day)s, %(now)s, %(result)s)",
            {"now": now, "day": day, "result": Jsonb(result)},
        )
