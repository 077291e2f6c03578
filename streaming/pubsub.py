"""Receive batches of messages from a Google Pub/Sub subscription. Needs the extra `pubsub`.

Pub/Sub leases a message to one consumer for some seconds, and delivers it again if it is not acknowledged in time. This
consumer acknowledges a message after the transaction that stored it. The same transaction recorded its id, so a message
that is delivered again is stored exactly once.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from functools import partial
from typing import Any

import grpc
from google.api_core.exceptions import (
    DeadlineExceeded,
    GoogleAPICallError,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    Unauthenticated,
)
from google.auth.exceptions import GoogleAuthError
from google.cloud.pubsub_v1 import SubscriberClient
from google.cloud.pubsub_v1.types import PullResponse
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport

from core.database import Connection
from core.errors import MoovitamixError, SettingsError
from core.settings import Settings
from streaming.message_ids import MessageIds
from streaming.messages import Message
from streaming.transport import BrokerUnavailable

_LOGGER = logging.getLogger(__name__)
# Longer than the server waits for a message. If a request ended sooner, a message on its way would be lost until its
# lease expires (https://github.com/googleapis/google-cloud-python/issues/8087).
_PULL_SECONDS = 30.0
_REQUEST_SECONDS = 5.0
# The longest lease: messages of a killed consumer are delivered again after it.
_MAX_LEASE_SECONDS = 15
# A lease is extended when this share of it is over. A batch that takes longer than the maximum is not extended.
_EXTENDED_AFTER = 0.4
_MAX_BATCH_SECONDS = 600.0
# An acknowledgement of more messages may exceed the server's limit of a request.
_MAX_MESSAGES = 1_000
# Bounds the memory of a batch. A message of Pub/Sub has at most 10 MB.
_RESPONSE_LIMIT = ("grpc.max_receive_message_length", 32_000_000)
_MESSAGES_WITHIN_LIMIT = 3


class PubSubSubscription:
    """A consumer of one subscription. All requests but the first run in one thread, one after another.

    Raises SettingsError, BrokerUnavailable.
    """

    def __init__(self, settings: Settings) -> None:
        self.name = settings.stream_pubsub_subscription
        self.is_idle = True  # any consumer may receive any message
        self.max_messages = _MAX_MESSAGES
        self._client = _open_client()
        self._max_messages = _MAX_MESSAGES
        self._ack_ids: list[str] = []
        self._is_settled = threading.Event()
        self._pull: Future[Any] | None = None
        self._requests = ThreadPoolExecutor(1, "pubsub")
        try:
            self._ack_deadline = _read_ack_deadline(self._client, self.name)
        except MoovitamixError:
            self.close()
            raise

    def resume(self, connection: Connection) -> MessageIds:
        """Give back the messages that were not acknowledged. Call it before `receive`."""
        self.rewind()
        return MessageIds(connection, self.name)

    def receive(self, max_messages: int, wait_seconds: float) -> list[Message]:
        """Return up to `max_messages`, or none if nothing arrives in time. Raises BrokerUnavailable."""
        if self._pull is None:
            self._is_settled.set()
            self._pull = self._requests.submit(
                self._client.pull,
                subscription=self.name,
                max_messages=min(max_messages, self._max_messages),
                retry=None,
                timeout=_PULL_SECONDS,
            )
        try:
            response = self._pull.result(wait_seconds)
        except TimeoutError:
            return []  # the request goes on
        except DeadlineExceeded:
            self._pull = None
            _read_ack_deadline(self._client, self.name)
            return []
        except ResourceExhausted as error:
            self._pull = None
            self._max_messages = _MESSAGES_WITHIN_LIMIT
            _LOGGER.warning("%s: %s; receiving fewer messages at once", self.name, error.message)
            time.sleep(wait_seconds)
            return []
        except GoogleAPICallError as error:
            self._pull = None
            raise _unavailable(self.name, error) from error
        self._pull = None
        self._max_messages = min(_MAX_MESSAGES, self._max_messages + 1 + self._max_messages // 100)
        return self._lease(response)

    def acknowledge(self) -> None:
        """Acknowledge the messages that `receive` returned last. If that fails, they are delivered again."""
        self._settle(self._acknowledge)

    def rewind(self) -> None:
        """Give back the messages that `receive` returned last. The server delivers them again at once."""
        self._settle(self._give_back)

    def refresh(self) -> None:
        """Pub/Sub does not tell consumers how many messages wait; Cloud Monitoring does."""

    def close(self) -> None:
        """Give back all messages, and disconnect."""
        if self._pull is not None and self._pull.done() and self._pull.exception() is None:
            self._lease(self._pull.result())
        elif self._pull is not None:
            self._client.close()  # ends the request
        self.rewind()
        self._requests.shutdown()
        self._client.close()

    def _lease(self, response: PullResponse) -> list[Message]:
        """Return the messages of a response, and extend their leases until they are acknowledged or given back."""
        received = PullResponse.pb(response).received_messages
        if not received:
            return []
        self._ack_ids = [item.ack_id for item in received]
        self._is_settled = threading.Event()
        self._requests.submit(self._extend_leases, self._ack_ids, self._is_settled)
        return [
            Message(
                item.message.data,
                item.message.publish_time.ToMicroseconds() / 1e6,
                message_id=item.message.message_id,
            )
            for item in received
        ]

    def _settle(self, request: Callable[[Sequence[str]], None]) -> None:
        """End the leases, and send a request for them."""
        ack_ids, self._ack_ids = self._ack_ids, []
        self._is_settled.set()
        if ack_ids:
            self._requests.submit(request, ack_ids)

    def _extend_leases(self, ack_ids: Sequence[str], is_settled: threading.Event) -> None:
        ends_at = time.monotonic() + _MAX_BATCH_SECONDS
        lease = min(self._ack_deadline or _MAX_LEASE_SECONDS, _MAX_LEASE_SECONDS)
        # Leases that may be longer are shortened at once.
        wait = _EXTENDED_AFTER * lease if lease == self._ack_deadline else 0
        while not is_settled.wait(wait) and time.monotonic() < ends_at:
            self._set_leases(ack_ids, lease)
            wait = _EXTENDED_AFTER * lease

    def _acknowledge(self, ack_ids: Sequence[str]) -> None:
        try:
            self._client.acknowledge(subscription=self.name, ack_ids=ack_ids, retry=None, timeout=_REQUEST_SECONDS)
        except GoogleAPICallError as error:
            _LOGGER.warning("%s: %d messages are not acknowledged: %s", self.name, len(ack_ids), error.message)

    def _give_back(self, ack_ids: Sequence[str]) -> None:
        self._set_leases(ack_ids, 0)

    def _set_leases(self, ack_ids: Sequence[str], seconds: int) -> None:
        """Let the leases of messages end in `seconds` from now. If that fails, they do not change."""
        try:
            self._client.modify_ack_deadline(
                subscription=self.name,
                ack_ids=ack_ids,
                ack_deadline_seconds=seconds,
                retry=None,
                timeout=_REQUEST_SECONDS,
            )
        except GoogleAPICallError as error:
            _LOGGER.warning("%s: leases of %d messages are not changed: %s", self.name, len(ack_ids), error.message)


def read_subscription_name(settings: Settings) -> str:
    """Ask Pub/Sub for the subscription, and return its name. Raises SettingsError, BrokerUnavailable."""
    with closing(_open_client()) as client:
        _read_ack_deadline(client, settings.stream_pubsub_subscription)
    return settings.stream_pubsub_subscription


def _read_ack_deadline(client: SubscriberClient, subscription: str) -> int | None:
    """The ack deadline of the subscription in seconds; None if this login may not read it. Raises BrokerUnavailable."""
    try:
        answer = client.get_subscription(subscription=subscription, retry=None, timeout=_REQUEST_SECONDS)
    except PermissionDenied:
        return None  # the role roles/pubsub.subscriber is enough to consume
    except GoogleAPICallError as error:
        raise _unavailable(subscription, error) from error
    return int(answer.ack_deadline_seconds)


def _unavailable(subscription: str, error: GoogleAPICallError) -> BrokerUnavailable:
    if isinstance(error, NotFound):
        return BrokerUnavailable(
            f"there is no subscription {subscription}; create it, or correct STREAM_PUBSUB_SUBSCRIPTION"
        )
    if isinstance(error, PermissionDenied | Unauthenticated):
        return BrokerUnavailable(
            f"Pub/Sub refuses this login, which needs roles/pubsub.subscriber on {subscription}: {error.message}"
        )
    return BrokerUnavailable(f"Pub/Sub does not answer for {subscription}: {error.message}")


def _open_client() -> SubscriberClient:
    """A client of Pub/Sub, or of the emulator that PUBSUB_EMULATOR_HOST names. Raises SettingsError."""
    if emulator := os.environ.get("PUBSUB_EMULATOR_HOST"):
        channel = grpc.insecure_channel(emulator, [_RESPONSE_LIMIT])
        return SubscriberClient(transport=SubscriberGrpcTransport(channel=channel))
    try:
        return SubscriberClient(transport=partial(SubscriberGrpcTransport, channel=_open_channel))
    except GoogleAuthError as error:
        raise SettingsError(
            f"Pub/Sub has no usable login: {error}; name a file with credentials in GOOGLE_APPLICATION_CREDENTIALS"
        ) from error


def _open_channel(host: str, *, options: Sequence[tuple[str, Any]], **values: Any) -> grpc.Channel:
    options = [option for option in options if option[0] != _RESPONSE_LIMIT[0]]
    return SubscriberGrpcTransport.create_channel(host, options=[*options, _RESPONSE_LIMIT], **values)
