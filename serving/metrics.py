"""Metrics of the serving API in the Prometheus format."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from serving.problems import TOO_MANY_REQUESTS

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)


class ServingMetrics:
    """The metrics of one app, in a separate registry."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "moovitamix_serving_requests",
            "Requests by route template, method and status.",
            ("route", "method", "status"),
            registry=self._registry,
        )
        self._seconds = Histogram(
            "moovitamix_serving_request_seconds",
            "Seconds until a request was answered.",
            ("route",),
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._limited = Counter(
            "moovitamix_serving_rate_limited", "Requests answered 429.", ("route",), registry=self._registry
        )
        self._counters: dict[tuple[str, str, int], Callable[[], None]] = {}
        self._observers: dict[str, Callable[[float], None]] = {}

    @cached_property
    def publication_age_seconds(self) -> Gauge:
        """NaN until anything is published."""
        text = "Seconds since the publication that is live went live."
        gauge = Gauge("moovitamix_serving_publication_age_seconds", text, registry=self._registry)
        gauge.set(float("nan"))
        return gauge

    @cached_property
    def database_up(self) -> Gauge:
        """1 or 0."""
        text = "Whether the database answered when it was last asked."
        return Gauge("moovitamix_serving_database_up", text, registry=self._registry)

    def count(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count a request. Children are cached, because looking them up by labels costs more than counting."""
        counter = self._counters.get((route, method, status))
        if counter is None:
            counter = self._requests.labels(route, method, str(status)).inc
            self._counters[(route, method, status)] = counter
        counter()
        observer = self._observers.get(route)
        if observer is None:
            observer = self._observers[route] = self._seconds.labels(route).observe
        observer(seconds)
        if status == TOO_MANY_REQUESTS.status:
            self._limited.labels(route).inc()

    def text(self) -> bytes:
        """All metrics in the format of Prometheus."""
        return generate_latest(self._registry)
