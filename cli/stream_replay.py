"""Consume messages again, from a time on: `moovitamix stream replay --from TIME`.

The command moves the offsets in the database back, and running consumers follow within a second. A message that is
stored already changes nothing. A replay stores lost sessions, and rejected messages that the rules accept now.
Kafka only: Pub/Sub cannot go back without dropping older messages that are not consumed yet.
Exit code 0: done; 1: broker or database does not answer; 2: streaming is off, or a wrong argument or setting.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime

from cli.stream_settings import load_stream_settings
from core.clock import clock_of
from core.database import connect
from core.dates import parse_time
from core.errors import UsageError
from core.exit_codes import returns_exit_code, run_main
from core.roles import STREAM, ensure_schema_for_role
from core.terminal import prepare_terminal
from streaming.kafka import read_topic_state
from streaming.offsets import move_offsets_back


@returns_exit_code
def main(arguments: Sequence[str] | None = None) -> int:
    """Move the offsets back, and print how far. Returns the exit code."""
    prepare_terminal()
    parser = argparse.ArgumentParser(prog="python -m cli.stream_replay", description=__doc__)
    parser.add_argument("--from", dest="since", type=_moment, required=True, help="UTC time, such as 2026-11-22T03:00")
    parser.add_argument("--json", action="store_true", help="print the result as one JSON document")
    options = parser.parse_args(arguments)
    settings = load_stream_settings()
    if settings.stream_transport == "pubsub":
        raise UsageError("replay needs Kafka; with Pub/Sub, publish the messages again (docs/streaming.md)")
    if options.since > clock_of(settings)():
        raise UsageError(f"--from {options.since:%Y-%m-%dT%H:%M} is in the future: there are no messages to replay")
    start = read_topic_state(settings, options.since)
    with connect(ensure_schema_for_role(settings, STREAM)) as connection:
        partitions = move_offsets_back(connection, start.topic_id, start.offsets)
    if options.json:
        print(json.dumps({"topic_id": start.topic_id, "partitions": [asdict(partition) for partition in partitions]}))
        return 0
    for partition in partitions:
        text = f"from offset {partition.next_offset:,} on, {partition.messages:,} messages"
        print(f"partition {partition.partition}: {text}")
    print(f"{sum(partition.messages for partition in partitions):,} messages are consumed again")
    return 0


def _moment(text: str) -> datetime:
    try:
        moment = parse_time(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment


if __name__ == "__main__":
    sys.exit(run_main(main))
