"""Which transport the settings choose, and what is missing."""

from __future__ import annotations

import subprocess
import sys

import pytest

from core.errors import SettingsError
from core.settings import Settings, load_settings
from services.local_services import LocalServices, Ports, PrefectCredentials
from streaming.kafka import BrokerUnavailable
from streaming.transports import open_transport, read_topic_id

SUBSCRIPTION = "projects/moovitamix/subscriptions/listens"


@pytest.fixture
def pubsub_settings(monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("STREAM_TRANSPORT", "pubsub")
    monkeypatch.setenv("STREAM_PUBSUB_SUBSCRIPTION", SUBSCRIPTION)
    return Settings(_env_file=None)


def test_streaming_is_imported_without_the_extra() -> None:
    code = "import sys; sys.modules.update({'google': None, 'grpc': None}); import streaming, streaming.consumer"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_missing_extra_is_named(pubsub_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "grpc", None)
    monkeypatch.delitem(sys.modules, "streaming.pubsub", raising=False)
    for function in (open_transport, read_topic_id):
        with pytest.raises(SettingsError, match=r"needs the extra pubsub: run `pip install -e \.\[pubsub\]`"):
            function(pubsub_settings)


def test_kafka_is_the_default() -> None:
    settings = Settings(_env_file=None, stream_bootstrap_servers="127.0.0.1:1")
    with pytest.raises(BrokerUnavailable):
        open_transport(settings)


@pytest.mark.parametrize(
    "subscription", ["", "listens", "projects/a/topics/b", f"{SUBSCRIPTION}/more", "projects//subscriptions/b"]
)
def test_wrong_subscription_is_a_wrong_setting(subscription: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAM_TRANSPORT", "pubsub")
    monkeypatch.setenv("STREAM_PUBSUB_SUBSCRIPTION", subscription)
    with pytest.raises(SettingsError, match="STREAM_PUBSUB_SUBSCRIPTION"):
        load_settings()


def test_local_services_consume_a_subscription_without_a_broker(pubsub_settings: Settings) -> None:
    services = LocalServices(pubsub_settings, Ports(), PrefectCredentials())
    names = [process.name for process in services.processes()]
    assert "stream" in names
    assert "kafka" not in names
