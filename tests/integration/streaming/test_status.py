"""`moovitamix stream status` with a real broker and database, and without them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from cli import stream_status
from tests.integration.serving.api import free_port
from tests.integration.streaming.conftest import Stream, row, until

TIME = "2024-04-01T10:00:00"


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run the command, and return its exit code and output."""
    monkeypatch.setenv("STREAM_METRICS_PORT", str(free_port()))

    def run_command(*arguments: str, **environment: str) -> tuple[int, str, str]:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        code = stream_status.main(list(arguments))
        return code, *capsys.readouterr()

    return run_command


def line(output: str, name: str) -> str:
    """The text of the first line with this name."""
    return next(line for line in output.splitlines() if line.startswith(name)).removeprefix(name).strip()


def test_status_shows_topic_offsets_lag_sessions_and_consumers(stream: Stream, run: Any) -> None:
    port = free_port()
    with stream.consuming() as consumer:
        consumer.metrics.serve("127.0.0.1", port)
        stream.send(row(1, TIME, [3]), row(2, TIME, [5]), partition=1)
        stream.send(row(9_999, TIME, [3]), partition=0)
        stream.wait_for(3)
        until(lambda: stream.query("select 1 from ml.fresh_recommendations having count(*) = 2"), "fresh lists")
        until(lambda: consumer.lag.seconds() == 0, "no lag")
        consumer.minutes._saved_at = float("-inf")
        until(lambda: consumer.minutes._saved_at > 0, "a report")
        code, output, _ = run(STREAM_METRICS_PORT=str(port))
        state = json.loads(run("--json")[1])

    assert code == 0
    assert line(output, "topic").startswith(f"{stream.topic}, id {state['topic_id']}, at 127.0.0.1:")
    assert line(output, "partition 0") == "next offset 1, 1 messages stored, lag 0"
    assert line(output, "partition 1") == "next offset 2, 2 messages stored, lag 0"
    assert line(output, "consumer").startswith("lag 0 messages, 0.0 s; reported ")
    assert line(output, "metrics") == f"http://127.0.0.1:{port}/metrics answers"
    assert line(output, "sessions") == "2 unconfirmed, 1 parked"
    assert line(output, "last message").endswith(" UTC")
    assert line(output, "fresh lists").startswith("of 2 users, from publication 1, live since ")
    assert (state["lag_messages"], state["lag_seconds"], state["problems"]) == (0, 0, [])
    assert state["sessions"]["unconfirmed"] == 2
    assert [partition["next_offset"] for partition in state["partitions"]] == [1, 2]


def test_status_counts_waiting_messages_without_a_consumer(stream: Stream, run: Any) -> None:
    for number in range(3):
        stream.send(row(1 + number, TIME, [3]), partition=1)

    code, output, _ = run()

    assert code == 1
    assert line(output, "partition 0") == "next offset none, 0 messages stored, lag 0"
    assert line(output, "partition 1") == "next offset none, 0 messages stored, lag 3"
    assert "does not answer" in line(output, "metrics")
    assert line(output, "problem") == "no consumer reports; last report: never"


@pytest.mark.parametrize("arguments", [(), ("--json",)])
def test_status_without_a_broker_shows_the_database(stream: Stream, run: Any, arguments: Sequence[str]) -> None:
    code, output, error = run(*arguments, STREAM_BOOTSTRAP_SERVERS=f"127.0.0.1:{free_port()}")

    assert code == 1
    assert f"the broker does not answer for topic {stream.topic}" in output
    assert ("unconfirmed" in output, error) == (True, "")


def test_status_without_a_database_shows_the_topic(stream: Stream, run: Any) -> None:
    code, output, error = run(DATABASE_URL=f"postgresql://nobody@127.0.0.1:{free_port()}/nothing")

    assert code == 1
    assert "id unknown" not in line(output, "topic")
    assert "Postgres cannot be reached" in line(output, "problem")
    assert error == ""


def test_status_of_a_topic_that_does_not_exist(stream: Stream, run: Any) -> None:
    code, output, _ = run(STREAM_TOPIC="missing")
    assert code == 1
    assert "the broker does not answer for topic missing" in line(output, "problem")


def test_status_without_streaming_is_a_wrong_setting(stream: Stream, run: Any) -> None:
    code, output, error = run(STREAM_BOOTSTRAP_SERVERS="")
    assert (code, output) == (2, "")
    assert error.count("\n") == 1
    assert "streaming is off" in error
