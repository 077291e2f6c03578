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
    "error_share": "this share of the responses has status 500 or 503",
    "rate_limit_share": "this share of the responses has status 429 and a Retry-After header",
    "retry_after": "the Retry-After of a 429, in seconds (1 by default)",
    "fail_first": "the first n requests of every page fail with 500",
    "page_always_fails": "this page always fails with 500",
    "status": "every response has this status and an error body",
    "reset_share": "this share of the responses ends half-way in a TCP reset",
    "truncate_share": "this share of the responses is cut: half like cut_share, half like short_share",
    "cut_share": "this share of the responses has half of the JSON, and Content-Length matches that half",
    "short_share": "this share of the responses stops half-way; Content-Length states the full length",
    "html_share": "this share of the responses is an HTML page with status 200",
    "latency_ms": "every response is delayed by this many milliseconds",
    "hang_share": "this share of the requests is never answered",
    "drip": "responses arrive byte by byte, with this many milliseconds between bytes",
    "missing_items": "the envelope has no items",
    "missing_total": "the envelope has no total",
    "empty": "the endpoint has no rows, and total is 0",
    "half": "the second half of the rows is missing, and total agrees",
    "wrong_endpoint": "the endpoint lists the rows of this other endpoint",
    "moving": 'rows change every n requests: n, or {"every": n, "moves": m, "kind": "insert"|"remove"|"both"}',
    "schema_drift": "every row has an additional field of this name",
    "renamed_field": 'fields are renamed in every row: {"old": "new"}',
    "bad_rows": 'malformed rows are inserted: {"kind": count}; see place',
    "place": "the position of the malformed rows, counted from 0 (default: the end)",
}
SCOPE = {
    "endpoint": "only this endpoint",
    "page": "only requests for this page",
    "first": "only the first n requests for each page",
    "seed": "the seed of the random draws",
}
CONTENT = ("missing_items", "missing_total", "empty", "half", "wrong_endpoint", "moving", "schema_drift",
           "renamed_field", "bad_rows", "place")  # fmt: skip


class InvalidFault(ValueError):
    """A fault is unknown or has an invalid value."""


@dataclass(frozen=True)
class FaultGroup:
    """Faults and the requests they apply to: an endpoint, a page, the first requests for each page."""

    faults: dict[str, Any]
    endpoint: str | None = None
    page: int | None = None
    first: int | None = None
    seed: int = 0

    def applies_to(self, page_request: PageRequest, attempt: int) -> bool:
        """Whether the faults apply to the nth request (`attempt`) for this page."""
        return (
            self.endpoint in (None, page_request.endpoint)
            and self.page in (None, page_request.page)
            and (self.first is None or attempt <= self.first)
        )

    def as_json(self) -> dict[str, Any]:
        """The group in the JSON form of the control endpoint."""
        scope = {name: getattr(self, name) for name in SCOPE}
        return {name: value for name, value in scope.items() if value is not None} | self.faults


@dataclass(frozen=True)
class RequestFaults:
    """The faults of one request. Draws depend only on seed, endpoint, page and attempt."""

    faults: dict[str, Any] = field(default_factory=dict)
    draw_key: str = ""
    attempt: int = 1
    moves: int = 0

    def random_number(self, name: str) -> float:
        """A number in [0, 1) for this name."""
        return random.Random(f"{self.draw_key}:{name}").random()

    def occurs(self, name: str) -> bool:
        """Draw whether a fault with a share happens."""
        share = self.faults.get(name, 0)
        return bool(share) and self.random_number(name) < share

    @property
    def content(self) -> str:
        """A cache key: pages with the same key have the same content."""
        content_faults = {name: self.faults[name] for name in CONTENT if name in self.faults}
        return f"{content_faults}{self.moves}" if content_faults else ""


NO_FAULTS = RequestFaults()


class ActiveFaults:
    """The active faults, and the number of requests since they were set."""

    def __init__(self, groups: list[FaultGroup]) -> None:
        self.groups = groups
        self._attempts: Counter[tuple[str, int]] = Counter()
        self._reads: Counter[str] = Counter()

    def request_faults(self, page_request: PageRequest) -> RequestFaults:
        """Count this request and return its faults."""
        if not self.groups:
            return NO_FAULTS
        key = (page_request.endpoint, page_request.page)
        self._attempts[key] += 1
        self._reads[page_request.endpoint] += 1
        attempt = self._attempts[key]
        applicable = [group for group in self.groups if group.applies_to(page_request, attempt)]
        faults = {name: value for group in applicable for name, value in group.faults.items()}
        seeds = [group.seed for group in applicable]
        moves = _moves(faults.get("moving"), self._reads[page_request.endpoint] - 1)
        return RequestFaults(faults, f"{seeds}:{page_request.endpoint}:{page_request.page}:{attempt}", attempt, moves)


def _moves(moving: Any, reads: int) -> int:
    """How often the rows have changed after this many requests."""
    if moving is None:
        return 0
    options = moving if isinstance(moving, dict) else {"every": moving}
    moves = reads // int(options["every"])
    return min(moves, int(options.get("moves", moves)))


def read_groups(content: Any) -> list[FaultGroup]:
    """Parse fault groups: one JSON object or a list of objects. Raises InvalidFault."""
    return [_read_group(group) for group in (content if isinstance(content, list) else [content])]


def _read_group(content: Any) -> FaultGroup:
    if not isinstance(content, dict):
        raise InvalidFault('a fault group must be an object like {"endpoint": "tracks", "error_share": 0.1}')
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
        raise InvalidFault(f"unknown fault {name!r}; GET /_control/kinds lists the faults")
    if name == "bad_rows":
        error = check_kinds(endpoint, value)
        if error:
            raise InvalidFault(error)
        return
    expected, is_valid = _VALUES.get(name, ("true or false", _is_switch))
    if not is_valid(value):
        raise InvalidFault(f"{name} must be {expected}, not {value!r}")


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
_TIME = ("a number of at least 0", _is_number)
_ERROR_STATUSES = {int(status) for status in HTTPStatus if status >= HTTPStatus.BAD_REQUEST}
_VALUES: dict[str, tuple[str, Callable[[Any], bool]]] = {
    **{name: _SHARE for name in FAULT_DESCRIPTIONS if name.endswith("_share")},
    **dict.fromkeys(("fail_first", "page_always_fails", "retry_after", "place"), _COUNT),
    **dict.fromkeys(("latency_ms", "drip"), _TIME),
    "status": ("the HTTP status of an error", lambda value: _is_count(value) and value in _ERROR_STATUSES),
    "wrong_endpoint": (f"one of {', '.join(ENDPOINTS)}", lambda value: value in ENDPOINTS),
    "moving": ('a whole number of at least 1, or like {"every": 3, "moves": 2, "kind": "insert"}', _is_moving),
    "schema_drift": ("a field name", lambda value: isinstance(value, str) and bool(value)),
    "renamed_field": ('like {"artist": "artist_name"}', _is_renaming),
}
