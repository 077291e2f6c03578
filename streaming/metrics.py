"""Prometheus metrics of the consumer."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server

from core.age_histogram import AGE_BOUNDS


class StreamMetrics:
    """Counts of messages and users, durations of batches, and latencies from the time a message was sent."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.messages = Counter("moovitamix_stream_messages", "Messages consumed.", registry=self.registry)
        self.redelivered = Counter(
            "moovitamix_stream_redelivered", "Messages received again, and not stored again.", registry=self.registry
        )
        self.skipped = Counter(
            "moovitamix_stream_skipped",
            "Offsets without a message: deleted by the broker, markers of transactions, or compacted.",
            registry=self.registry,
        )
        self.plays = Counter("moovitamix_stream_plays", "New plays in these messages.", registry=self.registry)
        self.rejected = Counter("moovitamix_stream_rejected", "Messages rejected.", registry=self.registry)
        self.parked = Counter(
            "moovitamix_stream_parked", "Sessions parked: a user or track is unknown.", registry=self.registry
        )
        self.lists = Counter("moovitamix_stream_lists", "Fresh recommendation lists saved.", registry=self.registry)
        self.failed_lists = Counter(
            "moovitamix_stream_failed_lists", "Fresh recommendation lists that failed a check.", registry=self.registry
        )
        self.waiting_users = Gauge(
            "moovitamix_stream_waiting_users", "Users whose recommendations lack a play, at most 100,000.",
            registry=self.registry,
        )  # fmt: skip
        self.model_loads = Counter("moovitamix_stream_model_loads", "Models loaded.", registry=self.registry)
        self.lag_messages = Gauge(
            "moovitamix_stream_lag_messages", "Messages not consumed yet.", registry=self.registry
        )
        self.lag_seconds = Gauge(
            "moovitamix_stream_lag_seconds", "Seconds that messages have waited without a break; 0 while none waits.",
            registry=self.registry,
        )  # fmt: skip
        self.batch_seconds = Histogram(
            "moovitamix_stream_batch_seconds", "Duration of a batch.", buckets=AGE_BOUNDS, registry=self.registry
        )
        self.play_to_commit = Histogram(
            "moovitamix_stream_play_to_commit_seconds", "From sending a message to its commit.",
            buckets=AGE_BOUNDS, registry=self.registry,
        )  # fmt: skip
        self.play_to_list = Histogram(
            "moovitamix_stream_play_to_list_seconds", "From sending a message to the user's fresh recommendations.",
            buckets=AGE_BOUNDS, registry=self.registry,
        )  # fmt: skip

    def serve(self, host: str, port: int) -> None:
        """Answer /metrics in a thread. Raises OSError if host or port cannot be used."""
        start_http_server(port, host, self.registry)
