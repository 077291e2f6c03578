"""The local broker ends with the process that started it, and refuses the port of another program."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import pytest

from streaming import local_broker
from streaming.broker_binary import BrokerFailed
from tests.conftest import ROOT
from tests.integration.serving.api import free_port
from tests.integration.streaming.conftest import until


@contextmanager
def wrapper(port: int) -> Iterator[tuple[subprocess.Popen[str], psutil.Process]]:
    """`python -m streaming.local_broker`, and the broker that it started."""
    process = subprocess.Popen(
        [sys.executable, "-m", "streaming.local_broker", "--port", str(port)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert "listens" in process.stdout.readline()
        (broker,) = psutil.Process(process.pid).children()
        yield process, broker
    finally:
        process.kill()
        process.communicate()


def has_ended(broker: psutil.Process) -> bool:
    return not broker.is_running() or broker.status() == psutil.STATUS_ZOMBIE


@pytest.mark.parametrize(
    "end",
    [signal.SIGTERM, pytest.param(signal.SIGKILL, marks=pytest.mark.skipif(sys.platform != "linux", reason="prctl"))],
)
def test_broker_ends_with_its_wrapper(end: signal.Signals) -> None:
    port = free_port()
    with wrapper(port) as (process, broker):
        process.send_signal(end)
        until(lambda: has_ended(broker), "the end of the broker")
    local_broker._end(local_broker.start_broker(port))


def test_broker_ends_if_the_topic_cannot_be_created(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise BrokerFailed("no topic")

    monkeypatch.setattr(local_broker, "create_topic", refuse)
    monkeypatch.setattr(signal, "signal", lambda *_: None)  # pytest's own handlers stay
    children = psutil.Process().children()
    assert local_broker.main(["--port", str(free_port())]) == 1
    assert [child for child in psutil.Process().children() if child not in children] == []


def test_port_of_another_program_is_refused(broker: int) -> None:
    with pytest.raises(BrokerFailed, match=f"cannot use port {broker}: Address already in use"):
        local_broker.start_broker(broker)
