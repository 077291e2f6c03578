"""Faults on demand: the active faults, and which of them apply to a request."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from mock_server.bad_rows import check_kinds
from mock_server.day_state import ENDPOINTS
from mock_server.pagination import PageRequest

FAULT_DESCRIPTIONS = {
    "error_share": "this share of the answers is 500 or 503",
    "rate_limit_share": "this share of the answers is 429 with Retry-After",
    "retry_after": "seconds that a 429 tells in Retry-After (1 by default)",
    "fail_first": "the first n requests of every page fail with 500",
    "page_always_fails": "this page fails with 500, always",
    "status": "every answer has this status, and an error's body",
    "reset_share": "this share of the answers ends half-way in a TCP reset",
    "truncate_share": "this share of the answers is cut: half as cut_share, half as short_share",
    "cut_share": "this share of the answers holds half of the JSON, with the Content-Length of that half",
    "short_share": "this share of the answers stops half-way, though Content-Length promises all of it",
    "html_share": "this share of the answers is an HTML page with status 200",
    "latency_ms": "every answer comes this many milliseconds late",
    "hang_share": "this share of the requests is never answered",
    "drip": "answers come a byte at a time, this many milliseconds apart",
    "missing_items": "the envelope has no items",
    "missing_total": "the envelope has no total",
    "empty": "the list is empty, with total 0",
    "half": "half of the list is gone, and total agrees",
    "wrong_endpoint": "the rows of this other endpoint are listed",
    "moving": 'the list changes while it is read: n, or {"every": n, "moves": m, "kind": "insert"|"remove"|"both"}',
    "schema_drift": "every row has one more field of this name",
    "renamed_field": 'fields of every row have other names: {"old": "new"}',
    "bad_rows": 'malformed rows are put into the list: {"kind": count}; see place',
    "place": "the position of the malformed rows, from 0 (at the end by default)",
}
SCOPE = {
    "endpoint": "only this endpoint",
    "page": "only requests for this page",
    "first": "only the first n requests for each page",
    "seed": "another seed draws the shares differently",
}
CONTENT = ("missing_items", "missing_total", "empty", "half", "wrong_endpoint", "moving", "schema_drift",
           "renamed_field", "bad_rows", "place")  # fmt: skip


class InvalidFault(ValueError):
    """A fault, or what it is set to, makes no sense."""


@dataclass(frozen=True)
class FaultGroup:
    """Faults and the requests they are meant for: an endpoint, a page, the first requests of each page."""

    faults: dict[str, Any]
    endpoint: str | None = None
    page: int | None = None
    first: int | None = None
    seed: int = 0

    def hits(self, page_request: PageRequest, attempt: int) -> bool:
        """Whether the nth request for this page of the endpoint is meant."""
        return (
            self.endpoint in (None, page_request.endpoint)
            and self.page in (None, page_request.page)
            and (self.first is None or attempt <= self.first)
        )

    def as_json(self) -> dict[str, Any]:
        """The form in which groups come and go."""
        scope = {name: getattr(self, name) for name in SCOPE}
        return {name: value for name, value in scope.items() if value is not None} | self.faults


@dataclass(frozen=True)
class RequestFaults:
    """The faults that hit one request. Draws depend on nothing but seed, endpoint, page and attempt."""

    faults: dict[str, Any] = field(default_factory=dict)
    draw_key: str = ""
    attempt: int = 1
    moves: int = 0

    def random_number(self, name: str) -> float:
        """A number in [0, 1), another one for each name."""
        return random.Random(f"{self.draw_key}:{name}").random()

    def occurs(self, name: str) -> bool:
        """Whether a fault with a share happens this time."""
        share = self.faults.get(name, 0)
        return bool(share) and self.random_number(name) < share

    @property
    def content(self) -> str:
        """Tells apart the contents that a page can have."""
        wrong = {name: self.faults[name] for name in CONTENT if name in self.faults}
        return f"{wrong}{self.moves}" if wrong else ""


NO_FAULTS = RequestFaults()


class ActiveFaults:
    """The faults wished for at the moment, and what has been asked since they were."""

    def __init__(self, groups: list[FaultGroup]) -> None:
        self.groups = groups
        self._attempts: Counter[tuple[str, int]] = Counter()
        self._reads: Counter[str] = Counter()

    def request_faults(self, page_request: PageRequest) -> RequestFaults:
        """The faults that hit this request, which is counted."""
        if not self.groups:
            return NO_FAULTS
        place = (page_request.endpoint, page_request.page)
        self._attempts[place] += 1
        self._reads[page_request.endpoint] += 1
        attempt = self._attempts[place]
        hitting = [group for group in self.groups if group.hits(page_request, attempt)]
        faults = {name: value for group in hitting for name, value in group.faults.items()}
        seeds = [group.seed for group in hitting]
        moves = _moves(faults.get("moving"), self._reads[page_request.endpoint] - 1)
        return RequestFaults(faults, f"{seeds}:{page_request.endpoint}:{page_request.page}:{attempt}", attempt, moves)


def _moves(moving: Any, reads: int) -> int:
    """How often the list has changed after so many requests."""
    if moving is None:
        return 0
    options = moving if isinstance(moving, dict) else {"every": moving}
    moves = reads // int(options["every"])
    return min(moves, int(options.get("moves", moves)))


def read_groups(content: Any) -> list[FaultGroup]:
    """The fault groups in JSON content: one object, or a list of them."""
    return [_read_group(group) for group in (content if isinstance(content, list) else [content])]


def _read_group(content: Any) -> FaultGroup:
    if not isinstance(content, dict):
        raise InvalidFault('faults come as an object like {"endpoint": "tracks", "error_share": 0.1}')
    scope = {name: value for name, value in content.items() if name in SCOPE and value is not None}
    faults = {name: value for name, value in content.items() if name not in SCOPE}
    if scope.get("endpoint", ENDPOINTS[0]) not in ENDPOINTS:
        raise InvalidFault(f"endpoint must be one of {', '.join(ENDPOINTS)}")
    for name in ("page", "first", "seed"):
        if not _is_count(scope.get(name, 0)):
            raise InvalidFault(f"{name} must be a whole number")
    for name, value in faults.items():
        _check(name, value, scope.get("endpoint"))
    return FaultGroup(faults, **scope)


def _check(name: str, value: Any, endpoint: str | None) -> None:
    if name not in FAULT_DESCRIPTIONS:
        raise InvalidFault(f"no fault is called {name!r}; GET /_control/kinds lists them")
    if name == "bad_rows":
        wrong = check_kinds(endpoint, value)
        if wrong:
            raise InvalidFault(wrong)
    need, fits = _NEEDS.get(name, ("true or false", _is_switch))
    if name != "bad_rows" and not fits(value):
        raise InvalidFault(f"{name} must be {need}, not {value!r}")


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 0


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and value >= 0


def _is_share(value: Any) -> bool:
    return _is_number(value) and value <= 1


def _is_switch(value: Any) -> bool:
    return isinstance(value, bool)


def _is_moving(value: Any) -> bool:
    options = value if isinstance(value, dict) else {"every": value}
    return (
        set(options) <= {"every", "moves", "kind"}
        and _is_count(options.get("every"))
        and options["every"] > 0
        and _is_count(options.get("moves", 0))
        and options.get("kind", "insert") in ("insert", "remove", "both")
    )


def _is_renaming(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(new, str) for new in value.values())


_SHARE = ("a number from 0 to 1", _is_share)
_COUNT = ("a whole number", _is_count)
_TIME = ("a number from 0", _is_number)
_ERROR_STATUSES = {int(status) for status in HTTPStatus if status >= HTTPStatus.BAD_REQUEST}
_NEEDS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    **{name: _SHARE for name in FAULT_DESCRIPTIONS if name.endswith("_share")},
    **dict.fromkeys(("fail_first", "page_always_fails", "retry_after", "place"), _COUNT),
    **dict.fromkeys(("latency_ms", "drip"), _TIME),
    "status": ("the HTTP status of an error", lambda value: _is_count(value) and value in _ERROR_STATUSES),
    "wrong_endpoint": (f"one of {', '.join(ENDPOINTS)}", lambda value: value in ENDPOINTS),
    "moving": ('a number from 1, or like {"every": 3, "moves": 2, "kind": "insert"}', _is_moving),
    "schema_drift": ("a field name", lambda value: isinstance(value, str) and bool(value)),
    "renamed_field": ('like {"artist": "artist_name"}', _is_renaming),
}
