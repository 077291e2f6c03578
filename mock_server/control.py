"""The control endpoints, which the real API does not have: day, scenarios, faults, request counts, true tastes,
feedback."""

from __future__ import annotations

import datetime as dt
import json
from collections import Counter
from collections.abc import Callable
from typing import Annotated, Any

import msgspec
import numpy as np

from mock_server.bad_rows import KINDS
from mock_server.dates import parse_day
from mock_server.day_state import ENDPOINTS, DayState
from mock_server.faults import FAULT_DESCRIPTIONS, SCOPE, ActiveFaults, FaultGroup, InvalidFault, read_groups
from mock_server.feedback import ShownTracks, UnknownId, report_usefulness
from mock_server.http_messages import Request, Response, error_response, json_response
from mock_server.live_sessions import LiveSessions, UnknownPlay
from mock_server.page_handler import PageHandler
from mock_server.scenarios import InvalidScenario, as_json, with_scenarios
from mock_server.timeline import DayOutOfRange, Timeline
from mock_server.users import true_scores

PREFIX = "/_control/"


class RequestRouter:
    """Routes requests: paths under /_control/ to the control endpoints, all others to the page handler."""

    def __init__(
        self,
        timeline: Timeline,
        day: dt.date,
        groups: list[FaultGroup],
        token: str | None,
        live_sessions: LiveSessions | None = None,
    ) -> None:
        self._timeline = timeline
        self._pages_handler = PageHandler(timeline.state_on(day), ActiveFaults(groups), token, live_sessions)
        self._routes: dict[tuple[str, str], Callable[[Request], Any]] = {
            ("GET", "health"): self._health,
            ("GET", "day"): self._day,
            ("POST", "day"): self._move_to_day,
            ("GET", "scenarios"): self._scenarios,
            ("PUT", "scenarios"): self._set_scenarios,
            ("GET", "faults"): self._faults,
            ("PUT", "faults"): self._set_faults,
            ("DELETE", "faults"): self._clear_faults,
            ("GET", "kinds"): _kinds,
            ("GET", "requests"): self._requests,
            ("DELETE", "requests"): self._forget_requests,
            ("GET", "truth"): self._truth,
            ("POST", "answers"): self._answers,
            ("POST", "plays"): self._plays,
        }

    def handle(self, request: Request) -> Response:
        """The response to a request."""
        if not request.path.startswith(PREFIX):
            return self._pages_handler.handle(request)
        name = request.path.removeprefix(PREFIX)
        route = self._routes.get((request.method, name))
        if route is None:
            path_exists = any(name == path for _, path in self._routes)
            return error_response(405, "Method Not Allowed") if path_exists else error_response(404, "Not Found")
        try:
            return json_response(200, route(request))
        except (UnknownId, UnknownUser, UnknownPlay) as error:
            return error_response(404, str(error))
        except (DayOutOfRange, InvalidScenario, InvalidFault, InvalidControlRequest) as error:
            return error_response(422, str(error))

    def _health(self, _request: Request) -> dict[str, Any]:
        state = self._pages_handler.state
        totals = {endpoint: state.total(endpoint) for endpoint in ENDPOINTS}
        return {"status": "ok", "day": str(state.day), "seed": state.plan.seed, "totals": totals}

    def _day(self, _request: Request) -> dict[str, str]:
        plan = self._pages_handler.state.plan
        return {"day": str(self._pages_handler.state.day), "start": str(plan.start), "base_day": str(plan.base_day)}

    def _move_to_day(self, request: Request) -> dict[str, str]:
        content = _content(request)
        try:
            day = parse_day(content["day"])
        except (TypeError, KeyError, ValueError) as error:
            raise InvalidControlRequest('the body must be like {"day": "2026-11-23"}') from error
        self.change_day(day)
        return self._day(request)

    @property
    def day(self) -> dt.date:
        """The simulated day."""
        return self._pages_handler.state.day

    def change_day(self, day: dt.date) -> None:
        """Change the simulated day. Raises DayOutOfRange."""
        self._pages_handler.change_to(state=self._timeline.state_on(day))

    def _scenarios(self, _request: Request) -> dict[str, Any]:
        return as_json(self._timeline.base.plan)

    def _set_scenarios(self, request: Request) -> dict[str, Any]:
        """Replace the scenarios. The data of the current day is as if they had been set from the start."""
        self._timeline = self._timeline.with_plan(with_scenarios(self._timeline.base.plan, _content(request)))
        self.change_day(self.day)
        return self._scenarios(request)

    def _faults(self, _request: Request) -> list[dict[str, Any]]:
        return [group.as_json() for group in self._pages_handler.active_faults.groups]

    def _set_faults(self, request: Request) -> list[dict[str, Any]]:
        self._pages_handler.change_to(active_faults=ActiveFaults(read_groups(_content(request))))
        return self._faults(request)

    def _clear_faults(self, request: Request) -> list[dict[str, Any]]:
        self._pages_handler.change_to(active_faults=ActiveFaults([]))
        return self._faults(request)

    def _requests(self, _request: Request) -> dict[str, Any]:
        by_endpoint: Counter[str] = Counter(dict.fromkeys(ENDPOINTS, 0))
        for (endpoint, *_), count in self._pages_handler.request_counts.items():
            by_endpoint[endpoint] += count
        counts = [
            {"endpoint": endpoint, "page": page, "status": status, "delivery": delivery, "count": count}
            for (endpoint, page, status, delivery), count in self._pages_handler.request_counts.items()
        ]
        return {"total": by_endpoint.total(), "by_endpoint": by_endpoint, "requests": counts}

    def _forget_requests(self, request: Request) -> dict[str, Any]:
        self._pages_handler.request_counts.clear()
        return self._requests(request)

    def _truth(self, request: Request) -> dict[str, Any]:
        parameters = request.parameters
        try:
            user_id, count = int(parameters["user_id"]), int(parameters.get("n", "20"))
        except (KeyError, ValueError) as error:
            raise InvalidControlRequest("user_id must be a whole number; so must n, which is optional (20)") from error
        return {"user_id": user_id, "tracks": top_tracks(self._pages_handler.state, user_id, count)}

    def _answers(self, request: Request) -> list[dict[str, Any]]:
        try:
            shown = msgspec.json.decode(request.body, type=list[ShownTracks])
        except msgspec.DecodeError as error:
            raise InvalidControlRequest(
                f'the body must be like [{{"user_id": 1, "tracks": [2, 3]}}]: {error}'
            ) from error
        return report_usefulness(self._pages_handler.state, shown)

    def _plays(self, request: Request) -> Any:
        """Start sessions now: `count` sessions of random users, or one session of a user with chosen tracks."""
        try:
            plays = msgspec.json.decode(request.body, type=DrawnPlays | ChosenPlays)
        except msgspec.DecodeError as error:
            raise InvalidControlRequest(
                'the body must be like {"type": "drawn", "count": 5}'
                f' or {{"type": "chosen", "user_id": 1, "items": [2, 3]}}: {error}'
            ) from error
        state, now = self._pages_handler.state, dt.datetime.now(dt.UTC).replace(tzinfo=None)
        sessions = self._pages_handler.live_sessions
        if isinstance(plays, DrawnPlays):
            return msgspec.to_builtins(sessions.draw(state, plays.count, now))
        return msgspec.to_builtins(sessions.play(state, plays.user_id, plays.items, now))


class DrawnPlays(msgspec.Struct, tag="drawn"):
    """`count` sessions of users drawn by their activity."""

    count: Annotated[int, msgspec.Meta(ge=1, le=10_000)]


class ChosenPlays(msgspec.Struct, tag="chosen"):
    """One session of a user."""

    user_id: int
    items: list[int]


class InvalidControlRequest(ValueError):
    """A control request has an invalid body or invalid parameters."""


class UnknownUser(LookupError):
    """No listed user has this id."""


def top_tracks(state: DayState, user_id: int, count: int) -> list[dict[str, Any]]:
    """The `count` tracks that a user is most likely to play, in descending order of probability."""
    rows = state.listed_users[state.users.id[state.listed_users] == user_id]
    if not len(rows):
        raise UnknownUser(f"no listed user has the id {user_id}")
    scores = true_scores(state.users, state.pools, rows)[0]
    best = np.argsort(-scores, kind="stable")[: max(count, 0)]
    best = best[scores[best] > 0]
    return [
        {"track_id": track, "probability": probability}
        for track, probability in zip(state.tracks.id[best].tolist(), scores[best].tolist(), strict=True)
    ]


def _kinds(_request: Request) -> dict[str, Any]:
    kinds = {name: {"meaning": kind.meaning, "endpoints": kind.endpoints} for name, kind in KINDS.items()}
    return {"faults": FAULT_DESCRIPTIONS, "scope": SCOPE, "bad_rows": kinds}


def _content(request: Request) -> Any:
    try:
        return json.loads(request.body)
    except ValueError as error:
        raise InvalidControlRequest("the body must be JSON") from error
