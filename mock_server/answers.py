"""From a question to an answer, past all the faults that are wished for."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import replace
from http import HTTPStatus
from typing import Any

from mock_server.bad_rows import bad_rows, newcomer
from mock_server.contract import Question, encode, envelope, read_question
from mock_server.faults import FaultBook, Trouble
from mock_server.listing import Listing, Shortened, WithoutFirst, WithRows, WorldListing
from mock_server.messages import Answer, Delivery, Request, detail
from mock_server.world import ENDPOINTS, World

CACHED_PAGES = 4096
CACHED_LISTINGS = 16
MOVED_ROWS = 1_000_000
"""Newcomers from this number on are put in by a moving list, those below are made into malformed rows."""

HTML = b"<!doctype html><html><head><title>Welcome</title></head><body><h1>It works!</h1></body></html>"


class ListAnswers:
    """Answers the requests for pages on one day, under the faults of the moment, and counts them."""

    def __init__(self, world: World, book: FaultBook, token: str | None = None) -> None:
        self.world = world
        self.book = book
        self.asked: Counter[tuple[str, int | None, int, str]] = Counter()
        self._token = token
        self._pages: OrderedDict[tuple[Question, str], bytes] = OrderedDict()
        self._listings: dict[tuple[str, str], Listing] = {}

    def turn(self, world: World | None = None, book: FaultBook | None = None) -> None:
        """Another day, or other faults: no page is what it was."""
        self.world = world or self.world
        self.book = book or self.book
        self._pages.clear()
        self._listings.clear()

    def handle(self, request: Request) -> Answer:
        """The answer to any request outside the control endpoints."""
        question = read_question(request, self._token)
        if isinstance(question, Answer):
            endpoint = request.path[1:].removesuffix("/")
            self._count(endpoint if endpoint in ENDPOINTS else "elsewhere", None, question)
            return question
        answer = self._answer(question, self.book.trouble(question))
        self._count(question.endpoint, question.page, answer)
        return answer

    def _count(self, endpoint: str, page: int | None, answer: Answer) -> None:
        self.asked[endpoint, page, answer.status, answer.delivery.mode] += 1

    def _answer(self, question: Question, trouble: Trouble) -> Answer:
        if not trouble.faults:
            return Answer(200, self._body(question, trouble))
        answer = _failure(question, trouble) or self._page(question, trouble)
        delay = trouble.faults.get("latency_ms", 0) / 1000
        return replace(answer, delivery=replace(answer.delivery, delay=delay))

    def _page(self, question: Question, trouble: Trouble) -> Answer:
        body = self._body(question, trouble)
        cut_by_choice = trouble.strikes("truncate_share")
        cut_in_json = cut_by_choice and trouble.luck("which cut") < 0.5
        if trouble.strikes("html_share"):
            return Answer(200, HTML, content_type="text/html; charset=utf-8")
        if trouble.strikes("reset_share"):
            return Answer(200, body, delivery=Delivery("reset"))
        if cut_in_json or trouble.strikes("cut_share"):
            return Answer(200, body[: len(body) // 2])
        if cut_by_choice or trouble.strikes("short_share"):
            return Answer(200, body, delivery=Delivery("short"))
        if "drip" in trouble.faults:
            return Answer(200, body, delivery=Delivery("drip", pause=trouble.faults["drip"] / 1000))
        return Answer(200, body)

    def _body(self, question: Question, trouble: Trouble) -> bytes:
        """The page as JSON, from memory if it was asked for lately."""
        key = (question, trouble.content)
        body = self._pages.get(key)
        if body is None:
            listing = self._listing(question.endpoint, trouble)
            body = encode(_disguise(envelope(listing, question), trouble))
            self._pages[key] = body
            if len(self._pages) > CACHED_PAGES:
                self._pages.popitem(last=False)
        else:
            self._pages.move_to_end(key)
        return body

    def _listing(self, endpoint: str, trouble: Trouble) -> Listing:
        key = (endpoint, trouble.content)
        if key not in self._listings:
            if len(self._listings) >= CACHED_LISTINGS:
                self._listings.clear()
            self._listings[key] = _wrong_listing(self.world, endpoint, trouble)
        return self._listings[key]


def _failure(question: Question, trouble: Trouble) -> Answer | None:
    """The answer instead of the page, if one of the faults asks for that."""
    faults = trouble.faults
    if trouble.strikes("hang_share"):
        return Answer(200, b"", delivery=Delivery("hang"))
    if "status" in faults:
        return detail(faults["status"], HTTPStatus(faults["status"]).phrase)
    if faults.get("page_always_fails") == question.page or trouble.attempt <= faults.get("fail_first", 0):
        return detail(500, "Internal Server Error")
    if trouble.strikes("error_share"):
        return detail(*_ERRORS[trouble.luck("which error") < 0.5])
    if trouble.strikes("rate_limit_share"):
        return detail(429, "Too Many Requests", (("retry-after", str(faults.get("retry_after", 1))),))
    return None


_ERRORS = {True: (500, "Internal Server Error"), False: (503, "Service Unavailable")}


def _wrong_listing(world: World, endpoint: str, trouble: Trouble) -> Listing:
    """The list that a request sees: what the world has, unless faults change it."""
    faults = trouble.faults
    shown = faults.get("wrong_endpoint", endpoint)
    good: Listing = WorldListing(world, shown)
    listing = good
    if "bad_rows" in faults and shown == endpoint:
        rows = bad_rows(world, shown, good, faults["bad_rows"])
        listing = WithRows(listing, faults.get("place", listing.total), rows)
    if trouble.moves and good.total:
        listing = _moved(world, shown, listing, trouble)
    if faults.get("half"):
        listing = Shortened(listing, listing.total // 2)
    return Shortened(listing, 0) if faults.get("empty") else listing


def _moved(world: World, endpoint: str, listing: Listing, trouble: Trouble) -> Listing:
    """The list after rows were put in at its front, or its first ones removed, or both in turn."""
    moving = trouble.faults["moving"]
    kind = moving.get("kind", "insert") if isinstance(moving, dict) else "insert"
    inserted = {"insert": trouble.moves, "remove": 0, "both": (trouble.moves + 1) // 2}[kind]
    source = listing.rows(0, 1)[0]
    rows = [newcomer(world, endpoint, source, MOVED_ROWS + number) for number in range(inserted)][::-1]
    return WithRows(WithoutFirst(listing, trouble.moves - inserted), 0, rows)


def _disguise(page: dict[str, Any], trouble: Trouble) -> dict[str, Any]:
    """The envelope and its rows under other names, or with fields missing or added."""
    faults = trouble.faults
    if "schema_drift" in faults:
        page["items"] = _each(page["items"], lambda row: row | {faults["schema_drift"]: "calm"})
    if "renamed_field" in faults:
        names = faults["renamed_field"]
        page["items"] = _each(page["items"], lambda row: {names.get(name, name): row[name] for name in row})
    for name in ("items", "total"):
        if faults.get(f"missing_{name}"):
            del page[name]
    return page


def _each(rows: list[Any], change: Callable[[dict[str, Any]], dict[str, Any]]) -> list[Any]:
    """Every row changed, except malformed ones that are no records."""
    return [change(row) if isinstance(row, dict) else row for row in rows]
