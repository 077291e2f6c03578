"""Creating the topic of the local broker fails with an error that names the broker."""

from __future__ import annotations

import pytest

from demo.local_services import free_ports
from streaming import local_broker
from streaming.broker_binary import BrokerFailed


def test_broker_that_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_broker, "_SECONDS_TO_CREATE", 0.1)
    with pytest.raises(BrokerFailed, match=r"does not create a-topic within 0\.1 s"):
        local_broker.create_topic(free_ports(1)[0], "a-topic")
