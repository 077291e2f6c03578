"""A ledger of many days in plain SQL, which the health page reads; no flow runs."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import psycopg

from tests.integration.serving.api import go_live, stage

PERSON, MAIL, RAW = "Zebulon", "zebulon@example.org", "raw-text-of-the-source"

_HISTORY = """
insert into ops.batches (batch_id, endpoint, day, revision, source, status, rows_landed, rows_rejected, unknown_fields,
    started_at, finished_at)
select endpoint || '-' || day::date, endpoint, day::date, 1, 'http://source', 'published', 1000, 1,
    jsonb_build_object(%(raw)s::text, 1), day + interval '3 hours', day + interval '3 hours 5 minutes'
from generate_series(%(today)s::date - %(days)s::integer + 1, %(today)s::date, '1 day') as day,
    unnest(array['tracks', 'users', 'listen_history']) as endpoint;

insert into ops.expectation_results (batch_id, expectation, "column", severity, success, observed_value)
select batch_id, 'rule ' || rule, 'id', case when rule = 1 then 'warning' else 'critical' end, rule > 1, %(raw)s
from ops.batches, generate_series(1, 28) as rule;

insert into ops.runs (flow, day, started_at, finished_at, outcome)
select flow, day::date, day + interval '3 hours', day + interval '3 hours 9 minutes', 'published'
from generate_series(%(today)s::date - %(days)s::integer + 1, %(today)s::date, '1 day') as day,
    unnest(array['ingest', 'monitor', 'recommend']) as flow
order by day, flow;

insert into ops.task_runs
select run_id, task, batch, started_at, 1.5, 1, 400, true
from ops.runs, unnest(array['land', 'shape', 'stage', 'audit', 'publish']) as task, generate_series(1, 3) as batch;

insert into ops.rejected_rows
select batch_id, endpoint, 1, null, %(raw)s, %(raw)s from ops.batches;

insert into ml.quality_metrics
select metric, day::date, 0.2, 250, 0.15, 0.25, %(publication)s, true, day
from generate_series(%(today)s::date - %(days)s::integer, %(today)s::date - 1, '1 day') as day,
    unnest(array['ndcg@20', 'useful', 'coverage@20', 'without_list']) as metric;

insert into ml.decisions (kind, day, verdict, why, decided_at)
select 'day', day::date, 'steady', 'fell by 0.0 standard deviations', day + interval '27 hours'
from generate_series(%(today)s::date - %(days)s::integer, %(today)s::date - 1, '1 day') as day;
"""


def insert_history(connection: psycopg.Connection[Any], now: datetime, days: int) -> int:
    """Insert `days` successful days with personal data in its usual places; return the live publication."""
    connection.execute(
        "insert into warehouse.users values (900, %s, 'Z', %s, 'f', 'Rock', %s, %s, null, 0, 'b')",
        [PERSON, MAIL, now, now],
    )
    publication = stage(connection, {900: [1, 2]})
    go_live(connection, publication)
    parameters = {"today": now.date(), "days": days, "publication": publication, "raw": RAW}
    for text in _HISTORY.split(";\n"):
        if text.strip():
            connection.execute(text, parameters)
    return publication


_STREAMED_DAY = """
insert into stream.minutes
select
    minute, consumer::text::uuid, 'moovitamix.listens (id)', 40 + 30 * sin(number / 120.0)::int,
    120 + 90 * sin(number / 120.0)::int, 1, 0, 30, 0, 0, 0.02,
    array[2, 20, 12, 4, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0], array[0, 0, 2, 10, 18, 7, 2, 1, 0, 0, 0, 0, 0, 0],
    minute + interval '59 seconds'
from generate_series(0, 1439) as number,
    unnest(array['00000000-0000-0000-0000-000000000001', '00000000-0000-0000-0000-000000000002']) as consumer,
    lateral (select %(now)s::timestamptz - (1440 - number) * interval '1 minute' as minute) as minutes
"""


def insert_streamed_day(connection: psycopg.Connection[Any], now: datetime) -> None:
    """Insert what two consumers reported in each minute of the last 24 hours."""
    connection.execute(_STREAMED_DAY, {"now": now})
