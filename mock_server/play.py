"""`python -m mock_server.play`: users of a running mock listen, and their sessions are sent to the topic.

The mock draws the sessions, so its snapshots of later days contain them. Some can be sent while they grow, twice,
or as malformed messages.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import requests
from confluent_kafka import KafkaException, Producer

_MALFORMED = (b"not JSON", b"{}", b'{"user_id": "one", "items": null}', b"\xff\xfe", b"")
_SECONDS = 10.0
_STEP = 0.1


@dataclass
class Player:
    """Sends sessions of a mock's users. Shares are of sessions: sent first with fewer tracks, sent twice, malformed."""

    api_url: str
    producer: Producer
    topic: str
    growing: float = 0.0
    repeated: float = 0.0
    malformed: float = 0.0
    random: random.Random = field(default_factory=lambda: random.Random(0))

    def play(self, request: dict[str, Any]) -> list[dict[str, Any]]:
        """Let the mock start sessions, and send them. Returns the sessions. Raises requests.RequestException."""
        response = requests.post(f"{self.api_url}/_control/plays", json=request, timeout=_SECONDS)
        response.raise_for_status()
        sessions: list[dict[str, Any]] = response.json()
        for session in sessions:
            for value in self._messages(session):
                self.producer.produce(self.topic, value, key=str(session["user_id"]))
        self.producer.poll(0)
        return sessions

    def _messages(self, session: dict[str, Any]) -> Iterator[bytes]:
        whole = msgspec.json.encode(session)
        if self.random.random() < self.malformed:
            yield self.random.choice(_MALFORMED)
        if self.random.random() < self.growing and len(session["items"]) > 1:
            yield msgspec.json.encode(session | {"items": session["items"][:1]})
        yield whole
        if self.random.random() < self.repeated:
            yield whole


def main(arguments: Sequence[str] | None = None) -> int:
    """Play until the time is over. Returns the exit code."""
    options = _parser().parse_args(arguments)
    producer = Producer({"bootstrap.servers": options.bootstrap_servers, "linger.ms": 5, "log_level": 0})
    player = Player(
        options.api.rstrip("/"), producer, options.topic, options.growing, options.repeated, options.malformed
    )
    try:
        sent = len(player.play(_chosen(options))) if options.user_id is not None else _play_on(player, options)
        if producer.flush(_SECONDS):
            print(f"play: the broker {options.bootstrap_servers} does not accept the messages", file=sys.stderr)
            return 1
    except requests.HTTPError as error:
        print(f"play: the mock API refuses: {error.response.text}", file=sys.stderr)
        return 1
    except (KafkaException, BufferError) as error:
        print(f"play: the broker {options.bootstrap_servers} does not accept the messages: {error}", file=sys.stderr)
        return 1
    except requests.RequestException as error:
        print(f"play: the mock API at {options.api} does not answer: {type(error).__name__}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        producer.flush(_SECONDS)
        return 0
    print(f"sent {sent:,} sessions to {options.topic}")
    return 0


def _play_on(player: Player, options: argparse.Namespace) -> int:
    """Send sessions at the rate, until the time is over. Returns how many."""
    began, sent = time.monotonic(), 0
    while (seconds := time.monotonic() - began) < options.seconds:
        due = int(seconds * options.rate) - sent
        if due:
            sent += len(player.play({"type": "drawn", "count": min(due, 10_000)}))
        time.sleep(_STEP)
    return sent


def _chosen(options: argparse.Namespace) -> dict[str, Any]:
    return {"type": "chosen", "user_id": options.user_id, "items": options.track_id}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m mock_server.play", description=__doc__)
    parser.add_argument("--api", default="http://127.0.0.1:8000", help="URL of the mock API")
    parser.add_argument("--bootstrap-servers", default="127.0.0.1:9092", help="addresses of the Kafka broker")
    parser.add_argument("--topic", default="moovitamix.listens")
    parser.add_argument("--rate", type=float, default=10.0, help="sessions per second")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long to play")
    parser.add_argument("--growing", type=float, default=0.0, help="share of sessions sent first with one track")
    parser.add_argument("--repeated", type=float, default=0.0, help="share of sessions sent twice")
    parser.add_argument("--malformed", type=float, default=0.0, help="share of sessions after a malformed message")
    parser.add_argument("--user-id", type=int, help="send one session of this user instead")
    parser.add_argument("--track-id", type=int, action="append", default=[], help="track of that session; repeatable")
    return parser


if __name__ == "__main__":
    sys.exit(main())
