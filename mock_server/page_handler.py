"""The responses to page requests, with the active faults applied."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import replace
from http import HTTPStatus
from typing import Any

from mock_server.bad_rows import bad_rows, unlisted_row
from mock_server.day_state import ENDPOINTS, DayState
from mock_server.endpoint_rows import DatasetRows, EndpointRows, RowsWithInsertion, RowsWithoutFirst, TruncatedRows
from mock_server.faults import ActiveFaults, RequestFaults
from mock_server.http_messages import Delivery, Request, Response, error_response
from mock_server.live_sessions import LiveSessions
from mock_server.pagination import PageRequest, encode, envelope, parse_page_request

CACHED_PAGES = 4096
CACHED_ENDPOINT_ROWS = 16
MOVED_ROW_NUMBERS = 1_000_000
"""Numbers of unlisted rows: from here on for the fault `moving`, below for malformed rows."""

HTML = b"<!doctype html><html><head><title>Welcome</title></head><body><h1>It works!</h1></body></html>"


class PageHandler:
    """Responds to page requests with the data of one day and the active faults, and counts the requests."""

    def __init__(
        self,
        state: DayState,
        active_faults: ActiveFaults,
        token: str | None = None,
        live_sessions: LiveSessions | None = None,
    ) -> None:
        self.state = state
        self.live_sessions = live_sessions or LiveSessions()
        self.active_faults = active_faults
        self.request_counts: Counter[tuple[str, int | None, int, str]] = Counter()
        self._token = token
        self._pages: OrderedDict[tuple[PageRequest, str], bytes] = OrderedDict()
        self._rows_by_endpoint: dict[tuple[str, str], EndpointRows] = {}

    def change_to(self, state: DayState | None = None, active_faults: ActiveFaults | None = None) -> None:
        """Change the day or the faults, and clear the caches."""
        self.state = state or self.state
        self.active_faults = active_faults or self.active_faults
        self._pages.clear()
        self._rows_by_endpoint.clear()

    def handle(self, request: Request) -> Response:
        """The response to a request outside the control endpoints."""
        page_request = parse_page_request(request, self._token)
        if isinstance(page_request, Response):
            endpoint = request.path[1:].removesuffix("/")
            self._count(endpoint if endpoint in ENDPOINTS else "elsewhere", None, page_request)
            return page_request
        response = self._respond(page_request, self.active_faults.request_faults(page_request))
        self._count(page_request.endpoint, page_request.page, response)
        return response

    def _count(self, endpoint: str, page: int | None, response: Response) -> None:
        self.request_counts[endpoint, page, response.status, response.delivery.mode] += 1

    def _respond(self, page_request: PageRequest, request_faults: RequestFaults) -> Response:
        if not request_faults.faults:
            return Response(200, self._body(page_request, request_faults))
        response = _failure(page_request, request_faults) or self._page(page_request, request_faults)
        delay = request_faults.faults.get("latency_ms", 0) / 1000
        return replace(response, delivery=replace(response.delivery, delay=delay))

    def _page(self, page_request: PageRequest, request_faults: RequestFaults) -> Response:
        body = self._body(page_request, request_faults)
        truncated = request_faults.occurs("truncate_share")
        cut_in_json = truncated and request_faults.random_number("which cut") < 0.5
        if request_faults.occurs("html_share"):
            return Response(200, HTML, content_type="text/html; charset=utf-8")
        if request_faults.occurs("reset_share"):
            return Response(200, body, delivery=Delivery("reset"))
        if cut_in_json or request_faults.occurs("cut_share"):
            return Response(200, body[: len(body) // 2])
        if truncated or request_faults.occurs("short_share"):
            return Response(200, body, delivery=Delivery("short"))
        if "drip" in request_faults.faults:
            return Response(200, body, delivery=Delivery("drip", pause=request_faults.faults["drip"] / 1000))
        return Response(200, body)

    def _body(self, page_request: PageRequest, request_faults: RequestFaults) -> bytes:
        """The page as JSON, cached."""
        key = (page_request, request_faults.content)
        body = self._pages.get(key)
        if body is None:
            endpoint_rows = self._endpoint_rows(page_request.endpoint, request_faults)
            body = encode(_with_field_faults(envelope(endpoint_rows, page_request), request_faults))
            self._pages[key] = body
            if len(self._pages) > CACHED_PAGES:
                self._pages.popitem(last=False)
        else:
            self._pages.move_to_end(key)
        return body

    def _endpoint_rows(self, endpoint: str, request_faults: RequestFaults) -> EndpointRows:
        key = (endpoint, request_faults.content)
        if key not in self._rows_by_endpoint:
            if len(self._rows_by_endpoint) >= CACHED_ENDPOINT_ROWS:
                self._rows_by_endpoint.clear()
            self._rows_by_endpoint[key] = self._rows_under_faults(endpoint, request_faults)
        return self._rows_by_endpoint[key]

    def _rows_under_faults(self, endpoint: str, request_faults: RequestFaults) -> EndpointRows:
        """The rows of an endpoint after the faults of the request."""
        state, faults = self.state, request_faults.faults
        source_endpoint = faults.get("wrong_endpoint", endpoint)
        good: EndpointRows = DatasetRows(state, source_endpoint)
        if source_endpoint == "listen_history" and (live := self.live_sessions.rows(state)):
            good = RowsWithInsertion(good, good.total, live)
        endpoint_rows = good
        if "bad_rows" in faults and source_endpoint == endpoint:
            rows = bad_rows(state, source_endpoint, good, faults["bad_rows"])
            endpoint_rows = RowsWithInsertion(endpoint_rows, faults.get("place", endpoint_rows.total), rows)
        if request_faults.moves and good.total:
            endpoint_rows = _moved_rows(state, source_endpoint, endpoint_rows, request_faults)
        if faults.get("half"):
            endpoint_rows = TruncatedRows(endpoint_rows, endpoint_rows.total // 2)
        return TruncatedRows(endpoint_rows, 0) if faults.get("empty") else endpoint_rows


def _failure(page_request: PageRequest, request_faults: RequestFaults) -> Response | None:
    """The response that replaces the page, if a fault requires one."""
    faults = request_faults.faults
    if request_faults.occurs("hang_share"):
        return Response(200, b"", delivery=Delivery("hang"))
    if "status" in faults:
        return error_response(faults["status"], HTTPStatus(faults["status"]).phrase)
    if faults.get("page_always_fails") == page_request.page or request_faults.attempt <= faults.get("fail_first", 0):
        return error_response(500, "Internal Server Error")
    if request_faults.occurs("error_share"):
        return error_response(*_ERRORS[request_faults.random_number("which error") < 0.5])
    if request_faults.occurs("rate_limit_share"):
        return error_response(429, "Too Many Requests", (("retry-after", str(faults.get("retry_after", 1))),))
    return None


_ERRORS = {True: (500, "Internal Server Error"), False: (503, "Service Unavailable")}


def _moved_rows(
    state: DayState, endpoint: str, endpoint_rows: EndpointRows, request_faults: RequestFaults
) -> EndpointRows:
    """The rows after insertions at the front, removals at the front, or both in turn."""
    moving = request_faults.faults["moving"]
    kind = moving.get("kind", "insert") if isinstance(moving, dict) else "insert"
    inserted = {"insert": request_faults.moves, "remove": 0, "both": (request_faults.moves + 1) // 2}[kind]
    source = endpoint_rows.rows(0, 1)[0]
    rows = [unlisted_row(state, endpoint, source, MOVED_ROW_NUMBERS + number) for number in range(inserted)][::-1]
    return RowsWithInsertion(RowsWithoutFirst(endpoint_rows, request_faults.moves - inserted), 0, rows)


def _with_field_faults(page: dict[str, Any], request_faults: RequestFaults) -> dict[str, Any]:
    """The envelope with fields added, renamed or removed."""
    faults = request_faults.faults
    if "schema_drift" in faults:
        page["items"] = _change_records(page["items"], lambda row: row | {faults["schema_drift"]: "calm"})
    if "renamed_field" in faults:
        names = faults["renamed_field"]
        page["items"] = _change_records(page["items"], lambda row: {names.get(name, name): row[name] for name in row})
    for name in ("items", "total"):
        if faults.get(f"missing_{name}"):
            del page[name]
    return page


def _change_records(rows: list[Any], change: Callable[[dict[str, Any]], dict[str, Any]]) -> list[Any]:
    """Change every row that is a record; malformed rows that are not records stay."""
    return [change(row) if isinstance(row, dict) else row for row in rows]
