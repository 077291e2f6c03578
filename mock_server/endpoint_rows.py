"""The rows of an endpoint, and wrappers that truncate them, insert rows or remove rows."""

from __future__ import annotations

from typing import Any, Protocol

from mock_server.day_state import DayState
from mock_server.records import records


class EndpointRows(Protocol):
    """The rows of an endpoint, read by range."""

    total: int

    def rows(self, start: int, stop: int) -> list[Any]:
        """The rows start..stop-1; fewer past the end."""


class DatasetRows:
    """The rows of an endpoint on one day."""

    def __init__(self, state: DayState, endpoint: str) -> None:
        self.total = state.total(endpoint)
        self._state = state
        self._endpoint = endpoint

    def rows(self, start: int, stop: int) -> list[Any]:
        return records(self._state, self._endpoint, start, stop)


class TruncatedRows:
    """At most the first `total` rows; `total` is reduced accordingly."""

    def __init__(self, inner: EndpointRows, total: int) -> None:
        self.total = min(total, inner.total)
        self._inner = inner

    def rows(self, start: int, stop: int) -> list[Any]:
        return self._inner.rows(start, min(stop, self.total)) if start < self.total else []


class RowsWithoutFirst:
    """All rows except the first `removed` ones."""

    def __init__(self, inner: EndpointRows, removed: int) -> None:
        self._removed = min(removed, inner.total)
        self.total = inner.total - self._removed
        self._inner = inner

    def rows(self, start: int, stop: int) -> list[Any]:
        return self._inner.rows(start + self._removed, stop + self._removed)


class RowsWithInsertion:
    """All rows, with more rows inserted at one position."""

    def __init__(self, inner: EndpointRows, position: int, inserted: list[Any]) -> None:
        self.total = inner.total + len(inserted)
        self._inner = inner
        self._position = min(position, inner.total)
        self._inserted = inserted

    def rows(self, start: int, stop: int) -> list[Any]:
        position, count = self._position, len(self._inserted)
        end = position + count
        head = self._inner.rows(start, min(stop, position)) if start < position else []
        inserted = self._inserted[max(start - position, 0) : max(stop - position, 0)]
        tail = self._inner.rows(max(start, end) - count, stop - count) if stop > end else []
        return head + inserted + tail
