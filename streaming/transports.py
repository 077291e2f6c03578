"""The transport that STREAM_TRANSPORT names. Each library is imported only if its transport is in use."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from core.errors import SettingsError
from core.settings import Settings
from streaming.transport import Transport


def open_transport(settings: Settings) -> Transport:
    """Connect as a consumer. Raises SettingsError, BrokerUnavailable."""
    if settings.stream_transport == "pubsub":
        with _extra_pubsub():
            from streaming.pubsub import PubSubSubscription
        return PubSubSubscription(settings)
    from streaming.kafka import KafkaTopic

    return KafkaTopic(settings)


def read_topic_id(settings: Settings) -> str:
    """Ask the server for the topic, and return its id. With Pub/Sub, it is the name of the subscription.

    Raises SettingsError, BrokerUnavailable.
    """
    if settings.stream_transport == "pubsub":
        with _extra_pubsub():
            from streaming.pubsub import read_subscription_name
        return read_subscription_name(settings)
    from streaming.kafka import read_topic_state

    return read_topic_state(settings).topic_id


@contextmanager
def _extra_pubsub() -> Iterator[None]:
    """Turn a missing module of the extra `pubsub` into a SettingsError that says how to install it."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise SettingsError(
            f"STREAM_TRANSPORT=pubsub needs the extra pubsub: run `pip install -e .[pubsub]` ({error.name} is missing)"
        ) from error
