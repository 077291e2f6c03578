"""`moovitamix stream replay`: messages are consumed again, and nothing is stored twice."""

from __future__ import annotations

import json
import os
import time
from datetime import datetime, timedelta

import pytest

from cli import stream_replay
from core.clock import utc_now
from tests.integration.streaming.conftest import Stream, row, until


def replay(since: datetime, capsys: pytest.CaptureFixture[str]) -> int:
    """Replay, and return the number of messages that are consumed again."""
    capsys.readouterr()
    assert stream_replay.main(["--from", since.strftime("%Y-%m-%dT%H:%M:%S.%f"), "--json"]) == 0
    partitions = json.loads(capsys.readouterr().out)["partitions"]
    return sum(partition["consumed_offset"] - partition["next_offset"] for partition in partitions)


def numbered(number: int) -> dict[str, object]:
    """A session that no other number has."""
    return row(1 + number, f"2024-04-01T10:{number:02}:00", [3, 5])


@pytest.mark.skipif("CLOCK_SHIFT" in os.environ, reason="`make test-under` does not shift the clock of the broker")
def test_replay_restores_lost_sessions_and_keeps_the_stored_ones(
    stream: Stream, capsys: pytest.CaptureFixture[str]
) -> None:
    with stream.consuming():
        stream.send(*map(numbered, range(3)))
        stream.wait_for(3)
        time.sleep(0.1)
        between = utc_now()
        time.sleep(0.1)
        stream.send(*map(numbered, range(3, 6)), b"not JSON", row(1, "2024-04-01T11:00:00", [3, "x"]))
        stream.wait_for(8)
        before = stream.query("select user_id, change_id from stream.sessions where user_id <> 5 order by 1, 2")
        rejected = stream.query("select * from ops.rejected_rows where topic is not null order by 1")
        assert len(rejected) == 2
        assert stream.query(
            "with lost as (delete from stream.sessions where user_id = 5 returning 1) select 1 from lost"
        )

        assert replay(between, capsys) == 5
        until(lambda: stream.query("select 1 from stream.sessions where user_id = 5"), "the lost session")
        until(lambda: sum(batch.messages for batch in stream.batches) >= 13, "all messages, again")

    assert stream.query("select user_id, change_id from stream.sessions where user_id <> 5 order by 1, 2") == before
    assert stream.query("select * from ops.rejected_rows where topic is not null order by 1") == rejected
    assert stream.query("select sum(next_offset)::bigint from stream.offsets") == [(8,)]


def test_replay_before_the_first_message_consumes_all(stream: Stream, capsys: pytest.CaptureFixture[str]) -> None:
    assert replay(utc_now() - timedelta(days=1), capsys) == 0, "nothing was consumed yet"
    with stream.consuming():
        stream.send(*map(numbered, range(4)))
        stream.wait_for(4)
        assert replay(utc_now() - timedelta(days=1), capsys) == 4
        until(lambda: sum(batch.messages for batch in stream.batches) >= 8, "all messages, again")
    assert len(stream.sessions()) == 4


def test_replay_from_the_future_is_refused(stream: Stream, capsys: pytest.CaptureFixture[str]) -> None:
    assert stream_replay.main(["--from", "2999-01-01"]) == 2
    assert "is in the future" in capsys.readouterr().err
