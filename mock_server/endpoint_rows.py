"""The rows of an endpoint, and wrappers that truncate them, insert rows, or remove rows."""

from __future__ import annotations

from typing import Any, Protocol

from mock_server.day_state import DayState
from mock_server.records import records


class EndpointRows(Protocol):
    """The rows of an endpoint, rendered range by range."""

    total: int

    def rows(self, start: int, stop: int) -> list[Any]:
        """The rows start..stop-1, fewer or none past the end."""


class DatasetRows:
    """The rows of an endpoint in a day's data."""

    def __init__(self, state: DayState, endpoint: str) -> None:
        self.total = state.total(endpoint)
        self._world = state
        self._endpoint = endpoint

    def rows(self, start: int, stop: int) -> list[Any]:
        return records(self._world, self._endpoint, start, stop)


class TruncatedRows:
    """The first rows of other rows; `total` is reduced accordingly."""

    def __init__(self, whole: EndpointRows, total: int) -> None:
        self.total = min(total, whole.total)
        self._whole = whole

    def rows(self, start: int, stop: int) -> list[Any]:
        return self._whole.rows(start, min(stop, self.total)) if start < self.total else []


class RowsWithoutFirst:
    """Other rows, of which the first are removed."""

    def __init__(self, whole: EndpointRows, gone: int) -> None:
        self._gone = min(gone, whole.total)
        self.total = whole.total - self._gone
        self._whole = whole

    def rows(self, start: int, stop: int) -> list[Any]:
        return self._whole.rows(start + self._gone, stop + self._gone)


class RowsWithInsertion:
    """Other rows, with more rows inserted at one position."""

    def __init__(self, whole: EndpointRows, place: int, more: list[Any]) -> None:
        self.total = whole.total + len(more)
        self._whole = whole
        self._place = min(place, whole.total)
        self._more = more

    def rows(self, start: int, stop: int) -> list[Any]:
        place, end = self._place, self._place + len(self._more)
        before = self._whole.rows(start, min(stop, place)) if start < place else []
        more = self._more[max(start - place, 0) : max(stop - place, 0)]
        after = self._whole.rows(max(start, end) - len(self._more), stop - len(self._more)) if stop > end else []
        return before + more + after
