"""The figures of the consumers: one row per minute and consumer in `stream.minutes`."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from core.age_histogram import AGE_BOUNDS
from core.clock import utc_now
from core.database import connect
from core.roles import INGEST, in_role
from pipeline.retention import prune_stream
from streaming import minutes
from tests.integration.streaming.conftest import Stream, row, until

TIME = "2024-04-01T10:00:00"


@pytest.fixture(autouse=True)
def _saved_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(minutes, "SAVE_SECONDS", 0.5)


def totals(stream: Stream) -> dict[str, Any]:
    """The sums over all consumers and minutes."""
    columns = ("messages", "plays", "rejected", "parked", "lists", "failed_lists")
    sums = ", ".join(f"coalesce(sum({column}), 0)::bigint" for column in columns)
    (values,) = stream.query(f"select {sums} from stream.minutes")
    return dict(zip(columns, values, strict=True))


def ages(stream: Stream, column: str) -> int:
    """The sum of a histogram over all consumers and minutes."""
    query = f"select coalesce(sum(age.messages), 0)::bigint from stream.minutes, unnest({column}) as age (messages)"
    return int(stream.query(query)[0][0])


def newest(stream: Stream, column: str) -> Any:
    """The newest value of a column."""
    return stream.query(f"select {column} from stream.minutes order by written_at desc limit 1")[0][0]


def test_messages_of_two_consumers_add_up(stream: Stream) -> None:
    with stream.consuming() as first, stream.consuming() as second:
        loads = [consumer.metrics.registry.get_sample_value for consumer in (first, second)]
        until(lambda: all(load("moovitamix_stream_model_loads_total") for load in loads), "models")
        for number in range(40):
            stream.send(row(1 + number, TIME, [3, 5]), partition=number % 2)
        stream.send(b"not JSON", row(9_999, TIME, [3]))
        stream.wait_for(42)
        until(lambda: totals(stream)["lists"] >= 40, "fresh recommendations")
        until(lambda: totals(stream)["messages"] == 42, "saved figures")

    # A consumer may also recommend to users of the other consumer.
    assert {name: value for name, value in totals(stream).items() if name != "lists"} == {
        "messages": 42, "plays": 81, "rejected": 1, "parked": 1, "failed_lists": 0,
    }  # fmt: skip
    assert (ages(stream, "commit_ages"), ages(stream, "list_ages")) == (42, 40)  # two messages changed no list
    steps = stream.query("select distinct cardinality(commit_ages), cardinality(list_ages) from stream.minutes")
    assert steps == [(len(AGE_BOUNDS) + 1, len(AGE_BOUNDS) + 1)]
    assert stream.query("select count(distinct consumer_id) from stream.minutes") == [(2,)]


def test_session_that_grows_counts_each_play_once(stream: Stream) -> None:
    with stream.consuming():
        for number in range(1, 4):
            stream.send(row(1, TIME, [3, 5, 7][:number], f"2024-04-01T10:0{number}:00"))
            stream.wait_for(number)
        stream.send(row(1, TIME, [3], "2024-04-01T10:09:00"))
        stream.wait_for(4)

    assert totals(stream)["plays"] == 3
    assert totals(stream)["messages"] == 4


def test_idle_consumer_reports_itself_without_a_lag(stream: Stream) -> None:
    with stream.consuming() as consumer:
        stream.send(row(1, TIME, [3]))
        stream.wait_for(1)
        until(lambda: consumer.lag.seconds() == 0 and totals(stream)["messages"], "a report without a lag")
        written_at = newest(stream, "written_at")
        until(lambda: newest(stream, "written_at") > written_at, "another report")
        assert newest(stream, "lag_seconds") == 0
        assert newest(stream, "lag_messages") == 0


def test_lag_rises_while_the_database_is_away_and_falls_to_zero(stream: Stream) -> None:
    with stream.consuming() as consumer:
        until(lambda: consumer.lag.is_idle, "an idle consumer")
        with connect(stream.place.database) as connection, connection.transaction():
            connection.execute("lock table stream.offsets in access exclusive mode")
            stream.send(row(1, TIME, [3]))
            until(lambda: consumer.lag.seconds() > 2, "a lag")
            first = consumer.lag.seconds()
            until(lambda: consumer.lag.seconds() > first, "a growing lag")
        stream.wait_for(1)
        until(lambda: consumer.lag.seconds() == 0, "no lag")


def test_figures_of_an_outage_are_saved_once(stream: Stream) -> None:
    with stream.consuming():
        for number in range(5):
            stream.send(row(1 + number, TIME, [3]))
            stream.wait_for(number + 1)
            stream.query(
                "select pg_terminate_backend(pid) from pg_stat_activity"
                " where datname = current_database() and pid <> pg_backend_pid()"
            )
        until(lambda: totals(stream)["messages"] >= 5, "saved figures")
    assert totals(stream)["messages"] == 5


def test_old_figures_and_rejected_messages_are_deleted(stream: Stream) -> None:
    with stream.consuming():
        stream.send(b"not JSON", b"neither", partition=0)
        stream.wait_for(2)
    stream.query(
        "with old as (update ops.rejected_rows set rejected_at = rejected_at - interval '9 days'"
        """ where topic is not null and "offset" = 0 returning 1) select 1 from old"""
    )
    rows = stream.query("select count(*) from stream.minutes")[0][0]
    before = utc_now() - timedelta(days=7)

    with connect(in_role(stream.place.database, INGEST)) as connection:
        assert prune_stream(connection, before).items() >= {"rejected_messages": 1, "stream_minutes": 0}.items()
        pruned = prune_stream(connection, utc_now() + timedelta(minutes=2))
    assert pruned.items() >= {"rejected_messages": 1, "stream_minutes": rows}.items()
