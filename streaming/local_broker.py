"""`python -m streaming.local_broker`: a Kafka broker for this machine, in memory, with the topic of listening sessions.

For development, the demo and tests only: a restart loses all messages (docs/adr/0029-a-local-kafka-broker.md).
"""

from __future__ import annotations

import argparse
import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

from core.addresses import refuse_port_in_use
from core.exit_codes import returns_exit_code, run_main
from core.prefect_names import SERVICES_MARK
from core.settings import load_settings
from streaming.broker_binary import BrokerFailed, broker_binary

HOST = "127.0.0.1"
_SECONDS_TO_START = 20.0
_SECONDS_TO_CREATE = 10.0
_PARTITIONS = 4
_C_LIBRARY = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1


def start_broker(port: int) -> subprocess.Popen[bytes]:
    """Start a broker on 127.0.0.1, and wait until it answers. On Linux, it ends with the thread that called this.

    Raises BrokerFailed if this machine has no broker, the port cannot be used, or the broker does not answer in time.
    """
    try:
        refuse_port_in_use(HOST, port)
    except OSError as error:
        raise BrokerFailed(
            f"the local Kafka broker cannot use port {port}: {error.strerror}. Stop the program that uses it, "
            "or set KAFKA_PORT"
        ) from None
    address = f"tcp://{HOST}:{port}"
    process = subprocess.Popen(
        [
            *(str(broker_binary()), "broker", "--storage-engine", "memory://moovitamix/"),
            *("--listener-url", address, "--advertised-listener-url", address, "--silent"),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        # The broker reads settings from variables with common names, such as CLUSTER_ID, so it gets only these.
        preexec_fn=_end_with_parent if sys.platform == "linux" else None,
        env={name: os.environ[name] for name in ("PATH", SERVICES_MARK) if name in os.environ},
    )
    deadline = time.monotonic() + _SECONDS_TO_START
    while not _answers(port):
        if process.poll() is not None or time.monotonic() > deadline:
            _end(process)
            raise BrokerFailed(f"the local Kafka broker does not start on port {port}")
        time.sleep(0.02)
    return process


def _end_with_parent() -> None:
    _C_LIBRARY.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


def create_topic(port: int, topic: str, partitions: int = _PARTITIONS) -> None:
    """Create the topic. Raises BrokerFailed if the broker refuses it or does not answer in time."""
    admin = AdminClient({"bootstrap.servers": f"{HOST}:{port}"})
    new_topic = NewTopic(topic, num_partitions=partitions, replication_factor=1)
    try:
        admin.create_topics([new_topic])[topic].result(_SECONDS_TO_CREATE)
    except TimeoutError as error:
        raise BrokerFailed(
            f"the local Kafka broker does not create {topic} within {_SECONDS_TO_CREATE:g} s; start it again"
        ) from error
    except KafkaException as error:
        raise BrokerFailed(f"the local Kafka broker does not create {topic}: {error.args[0].str()}") from error


def _answers(port: int) -> bool:
    try:
        socket.create_connection((HOST, port), 0.2).close()
    except OSError:
        return False
    return True


@returns_exit_code
def main(arguments: Sequence[str] | None = None) -> int:
    """Run until SIGTERM or SIGINT. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m streaming.local_broker", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    options = parser.parse_args(arguments)
    settings = load_settings(data_dir_is_written=False)
    process = start_broker(options.port)
    try:
        for name in (signal.SIGTERM, signal.SIGINT):
            signal.signal(name, lambda *_: process.terminate())
        create_topic(options.port, settings.stream_topic)
        print(f"a Kafka broker listens on {HOST}:{options.port}, with the topic {settings.stream_topic}", flush=True)
        code = process.wait()
    finally:
        _end(process)
    return 0 if code in (0, -signal.SIGTERM) else 1


if __name__ == "__main__":
    sys.exit(run_main(main))
