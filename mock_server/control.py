"""The control endpoints, which the real API does not have: days, scenarios, faults, counts, truth, answers."""

from __future__ import annotations

import datetime as dt
import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np

from mock_server.answers import ListAnswers
from mock_server.bad_rows import KINDS
from mock_server.dates import parse_day
from mock_server.days import ImpossibleDay, Timeline
from mock_server.faults import MEANINGS, SCOPE, FaultBook, FaultGroup, UnknownFault, read_groups
from mock_server.listeners import true_scores
from mock_server.messages import Answer, Request, detail, json_answer
from mock_server.scenarios import SenselessScenario, as_json, with_scenarios
from mock_server.usefulness import Shown, UnknownId, answers
from mock_server.world import ENDPOINTS, World

PREFIX = "/_control/"


class Control:
    """Answers every request: those under /_control/ itself, all others through the lists."""

    def __init__(self, timeline: Timeline, day: dt.date, groups: list[FaultGroup], token: str | None) -> None:
        self._timeline = timeline
        self._lists = ListAnswers(timeline.on(day), FaultBook(groups), token)
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
        }

    def handle(self, request: Request) -> Answer:
        """The answer to any request."""
        if not request.path.startswith(PREFIX):
            return self._lists.handle(request)
        name = request.path.removeprefix(PREFIX)
        route = self._routes.get((request.method, name))
        if route is None:
            known = any(name == path for _, path in self._routes)
            return detail(405, "Method Not Allowed") if known else detail(404, "Not Found")
        try:
            return json_answer(200, route(request))
        except (UnknownId, UnknownUser) as error:
            return detail(404, str(error))
        except (ImpossibleDay, SenselessScenario, UnknownFault, WrongContent) as error:
            return detail(422, str(error))

    def _health(self, _request: Request) -> dict[str, Any]:
        world = self._lists.world
        totals = {endpoint: world.total(endpoint) for endpoint in ENDPOINTS}
        return {"status": "ok", "day": str(world.day), "seed": world.plan.seed, "totals": totals}

    def _day(self, _request: Request) -> dict[str, str]:
        plan = self._lists.world.plan
        return {"day": str(self._lists.world.day), "start": str(plan.start), "base_day": str(plan.base_day)}

    def _move_to_day(self, request: Request) -> dict[str, str]:
        content = _content(request)
        try:
            day = parse_day(content["day"])
        except (TypeError, KeyError, ValueError) as error:
            raise WrongContent('the body must be like {"day": "2026-11-23"}') from error
        self.turn_to(day)
        return self._day(request)

    @property
    def day(self) -> dt.date:
        """The simulated day."""
        return self._lists.world.day

    def turn_to(self, day: dt.date) -> None:
        """Let it be another day. Raises ImpossibleDay."""
        self._lists.turn(world=self._timeline.on(day))

    def _scenarios(self, _request: Request) -> dict[str, Any]:
        return as_json(self._timeline.base.plan)

    def _set_scenarios(self, request: Request) -> dict[str, Any]:
        """Other scenarios, past and future: the day stays, and is what it would be had they been set from the start."""
        self._timeline = self._timeline.under(with_scenarios(self._timeline.base.plan, _content(request)))
        self.turn_to(self.day)
        return self._scenarios(request)

    def _faults(self, _request: Request) -> list[dict[str, Any]]:
        return [group.as_json() for group in self._lists.book.groups]

    def _set_faults(self, request: Request) -> list[dict[str, Any]]:
        self._lists.turn(book=FaultBook(read_groups(_content(request))))
        return self._faults(request)

    def _clear_faults(self, request: Request) -> list[dict[str, Any]]:
        self._lists.turn(book=FaultBook([]))
        return self._faults(request)

    def _requests(self, _request: Request) -> dict[str, Any]:
        by_endpoint: Counter[str] = Counter(dict.fromkeys(ENDPOINTS, 0))
        for (endpoint, *_), count in self._lists.asked.items():
            by_endpoint[endpoint] += count
        counts = [
            {"endpoint": endpoint, "page": page, "status": status, "delivery": delivery, "count": count}
            for (endpoint, page, status, delivery), count in self._lists.asked.items()
        ]
        return {"total": by_endpoint.total(), "by_endpoint": by_endpoint, "requests": counts}

    def _forget_requests(self, request: Request) -> dict[str, Any]:
        self._lists.asked.clear()
        return self._requests(request)

    def _truth(self, request: Request) -> dict[str, Any]:
        parameters = request.parameters
        try:
            user_id, count = int(parameters["user_id"]), int(parameters.get("n", "20"))
        except (KeyError, ValueError) as error:
            raise WrongContent("needs user_id, and n if not 20, as whole numbers") from error
        return {"user_id": user_id, "tracks": top_tracks(self._lists.world, user_id, count)}

    def _answers(self, request: Request) -> list[dict[str, Any]]:
        try:
            shown = msgspec.json.decode(request.body, type=list[Shown])
        except msgspec.DecodeError as error:
            raise WrongContent(f'the body must be like [{{"user_id": 1, "tracks": [2, 3]}}]: {error}') from error
        return answers(self._lists.world, shown)


class WrongContent(ValueError):
    """The body or the parameters of a control request make no sense."""


class UnknownUser(LookupError):
    """No listed user has this id."""


def top_tracks(world: World, user_id: int, count: int) -> list[dict[str, Any]]:
    """The `count` tracks that a user is likeliest to play, best first, with the probability of each."""
    rows = world.listed_users[world.listeners.id[world.listed_users] == user_id]
    if not len(rows):
        raise UnknownUser(f"no listed user has the id {user_id}")
    scores = true_scores(world.listeners, world.shelves, rows)[0]
    best = np.argsort(-scores, kind="stable")[: max(count, 0)]
    best = best[scores[best] > 0]
    return [
        {"track_id": track, "probability": probability}
        for track, probability in zip(world.tracks.id[best].tolist(), scores[best].tolist(), strict=True)
    ]


def _kinds(_request: Request) -> dict[str, Any]:
    kinds = {name: {"meaning": kind.meaning, "endpoints": kind.endpoints} for name, kind in KINDS.items()}
    return {"faults": MEANINGS, "scope": SCOPE, "bad_rows": kinds}


def _content(request: Request) -> Any:
    try:
        return json.loads(request.body)
    except ValueError as error:
        raise WrongContent("the body must be JSON") from error
