"""The list behind an endpoint, and lists made of other lists: shortened, with rows put in, with rows taken out."""

from __future__ import annotations

from typing import Any, Protocol

from mock_server.day_state import DayState
from mock_server.records import records


class EndpointRows(Protocol):
    """A list of rows that is rendered a stretch at a time."""

    total: int

    def rows(self, start: int, stop: int) -> list[Any]:
        """The rows start..stop-1, fewer or none past the end."""


class DatasetRows:
    """What the world lists at an endpoint."""

    def __init__(self, state: DayState, endpoint: str) -> None:
        self.total = state.total(endpoint)
        self._world = state
        self._endpoint = endpoint

    def rows(self, start: int, stop: int) -> list[Any]:
        return records(self._world, self._endpoint, start, stop)


class TruncatedRows:
    """The first rows of another list, which says that there are no more."""

    def __init__(self, whole: EndpointRows, total: int) -> None:
        self.total = min(total, whole.total)
        self._whole = whole

    def rows(self, start: int, stop: int) -> list[Any]:
        return self._whole.rows(start, min(stop, self.total)) if start < self.total else []


class RowsWithoutFirst:
    """Another list whose first rows were removed."""

    def __init__(self, whole: EndpointRows, gone: int) -> None:
        self._gone = min(gone, whole.total)
        self.total = whole.total - self._gone
        self._whole = whole

    def rows(self, start: int, stop: int) -> list[Any]:
        return self._whole.rows(start + self._gone, stop + self._gone)


class RowsWithInsertion:
    """Another list with further rows put in at one place."""

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
