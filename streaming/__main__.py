"""Consume listening sessions from the topic, store each exactly once, and recommend from them at once.

Runs until it is stopped. Exit 0: stopped; 1: it failed; 2: wrong settings, or no STREAM_BOOTSTRAP_SERVERS.
"""

from __future__ import annotations

import argparse
import logging
import signal
import sys
from collections.abc import Sequence

from core.clock import clock_of
from core.errors import SettingsError
from core.exit_codes import returns_exit_code, run_main
from core.malloc import use_one_arena
from core.roles import STREAM, ensure_schema_for_role
from core.settings import load_settings
from core.temporary_files import keep_temporary_files_in
from core.terminal import prepare_terminal


@returns_exit_code
def main(arguments: Sequence[str] | None = None) -> int:
    """Consume until SIGTERM or SIGINT. Returns the exit code."""
    prepare_terminal()
    argparse.ArgumentParser(prog="python -m streaming", description=__doc__).parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stdout)
    logging.getLogger("librdkafka").setLevel(logging.CRITICAL)  # the consumer reports outages itself
    use_one_arena()
    from streaming.consumer import Consumer

    settings = load_settings(data_dir_is_written=False)  # docker-compose.yml mounts the models read-only
    keep_temporary_files_in(settings.data_dir)
    if not settings.is_streaming:
        raise SettingsError("STREAM_BOOTSTRAP_SERVERS is empty: name a Kafka broker, such as 127.0.0.1:9092")
    consumer = Consumer(settings, ensure_schema_for_role(settings, STREAM), clock_of(settings))
    try:
        consumer.metrics.serve(settings.stream_metrics_host, settings.stream_metrics_port)
    except OSError as error:
        raise SettingsError(
            f"wrong setting: STREAM_METRICS_HOST or STREAM_METRICS_PORT cannot be used: {error.strerror}"
        ) from None
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: consumer.stop())
    consumer.run()
    return 0


if __name__ == "__main__":
    sys.exit(run_main(main))
