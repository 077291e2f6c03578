"""Show topic or subscription, offsets, lag, sessions, fresh recommendations and consumers: `moovitamix stream status`.

It changes nothing. Exit code 0: all parts answer and a consumer reports; 1: not all; 2: streaming is off, or wrong
settings.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeVar

from cli.stream_settings import load_stream_settings
from core.addresses import reachable_host
from core.clock import Clock, clock_of
from core.database import connect
from core.errors import MoovitamixError, SettingsError, named_errors
from core.exit_codes import returns_exit_code, run_main
from core.roles import STREAM, ensure_schema_for_role
from core.settings import Settings
from core.terminal import prepare_terminal
from notifications.health_checks import page_problem
from streaming import status
from streaming.kafka import TopicState, read_topic_state
from streaming.status import ConsumerReport, FreshListCount, StoredOffset, StoredSessions
from streaming.transports import read_topic_id

_SECONDS = 3.0
_Value = TypeVar("_Value")


@dataclass(frozen=True)
class PartitionState:
    """One partition, with its lag in messages. `next_offset` is None if no message is stored."""

    partition: int
    next_offset: int | None
    messages: int
    lag: int


@dataclass
class StreamState:
    """The state of the stream. A part is None or empty if it could not be read; `problems` says why.

    With Pub/Sub, `topic` is the subscription, there are no servers and partitions, and `messages` are those stored.
    """

    topic: str
    bootstrap_servers: str
    metrics_url: str
    messages: int | None = None
    topic_id: str | None = None
    partitions: list[PartitionState] = field(default_factory=list)
    consumers: list[ConsumerReport] = field(default_factory=list)
    sessions: StoredSessions | None = None
    publication: FreshListCount | None = None
    metrics_problem: str | None = None
    problems: list[str] = field(default_factory=list)


def read_state(settings: Settings, clock: Clock) -> StreamState:
    """Ask the broker, the database and the consumer of this machine. Raises SettingsError."""
    metrics_url = f"http://{reachable_host(settings.stream_metrics_host)}:{settings.stream_metrics_port}/metrics"
    topic = None
    if settings.stream_transport == "pubsub":
        state = StreamState(settings.stream_pubsub_subscription, "", metrics_url)
        _try(state, lambda: read_topic_id(settings))
    else:
        state = StreamState(settings.stream_topic, settings.stream_bootstrap_servers, metrics_url)
        topic = _try(state, lambda: read_topic_state(settings))
    state.topic_id = topic.topic_id if topic else None
    _try(state, lambda: _read_database(settings, state, topic, clock()))
    state.metrics_problem = page_problem(metrics_url, _SECONDS)
    return state


def _try(state: StreamState, read: Callable[[], _Value]) -> _Value | None:
    """Return what `read` returns. If it fails, record the problem and return None."""
    try:
        with named_errors():
            return read()
    except SettingsError:
        raise
    except MoovitamixError as error:
        state.problems.append(str(error))
        return None


def _read_database(settings: Settings, state: StreamState, topic: TopicState | None, now: datetime) -> None:
    with connect(ensure_schema_for_role(settings, STREAM)) as connection:
        state.consumers = status.current_consumers(connection, now)
        if not state.consumers:
            last = status.newest_report_time(connection, now)
            state.problems.append(f"no consumer reports; last report: {_moment(last)}")
        state.sessions = status.stored_sessions(connection)
        state.publication = status.fresh_list_count(connection)
        if settings.stream_transport == "pubsub":
            state.messages = status.stored_messages(connection, state.topic)
        if topic is not None:
            state.partitions = list(_partitions(topic, status.stored_offsets(connection, topic.topic_id)))


def _partitions(topic: TopicState, offsets: Sequence[StoredOffset]) -> Iterator[PartitionState]:
    stored = {offset.partition: offset for offset in offsets}
    for partition, end in sorted(topic.offsets.items()):
        offset = stored.get(partition)
        if offset is None:
            yield PartitionState(partition, None, 0, end)
        else:
            yield PartitionState(partition, offset.next_offset, offset.messages, max(0, end - offset.next_offset))


def as_json(state: StreamState) -> str:
    """The state as one JSON document."""
    lag_messages, lag_seconds = status.total_lag(state.consumers)
    lag = {"lag_messages": lag_messages, "lag_seconds": lag_seconds} if state.consumers else {}
    return json.dumps(asdict(state) | lag, indent=2, default=_iso)


def as_lines(state: StreamState, now: datetime) -> Iterator[str]:
    """The state as lines for people."""
    if state.messages is None:
        yield _line("topic", f"{state.topic}, id {state.topic_id or 'unknown'}, at {state.bootstrap_servers}")
    else:
        yield _line("subscription", f"{state.topic}, {state.messages:,} messages stored")
    for partition in state.partitions:
        next_offset = "none" if partition.next_offset is None else f"{partition.next_offset:,}"
        text = f"next offset {next_offset}, {partition.messages:,} messages stored, lag {partition.lag:,}"
        yield _line(f"partition {partition.partition}", text)
    for consumer in state.consumers:
        waiting = "" if consumer.lag_messages is None else f"{consumer.lag_messages:,} messages, "
        age = (now - consumer.written_at).total_seconds()
        yield _line("consumer", f"lag {waiting}{consumer.lag_seconds:.1f} s; reported {max(0, age):.0f} s ago")
    answer = f"does not answer: {state.metrics_problem}" if state.metrics_problem else "answers"
    yield _line("metrics", f"{state.metrics_url} {answer}")
    if state.sessions:
        sessions = state.sessions
        yield _line("sessions", f"{sessions.unconfirmed:,} unconfirmed, {sessions.parked:,} parked")
        yield _line("last message", _moment(sessions.last_received_at))
    if state.publication:
        live = state.publication
        text = f"of {live.lists:,} users, from publication {live.publication_id}, live since {_moment(live.live_from)}"
        yield _line("fresh lists", text)
    elif state.sessions:
        yield _line("fresh lists", "none; nothing is published")
    for problem in state.problems:
        yield _line("problem", problem)


def _line(name: str, text: str) -> str:
    return f"{name:<14}{text}"


def _moment(moment: datetime | None) -> str:
    return "never" if moment is None else f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def _iso(value: Any) -> str:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    raise TypeError(type(value).__name__)


@returns_exit_code
def main(arguments: Sequence[str] | None = None) -> int:
    """Print the state. Returns the exit code."""
    prepare_terminal()
    parser = argparse.ArgumentParser(prog="python -m cli.stream_status", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print the result as one JSON document")
    options = parser.parse_args(arguments)
    settings = load_stream_settings()
    clock = clock_of(settings)
    state = read_state(settings, clock)
    if options.json:
        print(as_json(state))
    else:
        print(*as_lines(state, clock()), sep="\n")
    return 1 if state.problems else 0


if __name__ == "__main__":
    sys.exit(run_main(main))
