"""A source that fails: what passes is waited for and changes nothing, what does not is told and costs one endpoint."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest

from flows.ingest import main
from tests.conftest import BASE_DAY, MockApi, Query
from tests.database_state import assert_rows_add_up, database_state
from tests.ingest_runs import Tables, ingest_days, temporary_database, warehouse_and_marts, without_revisions

pytestmark = pytest.mark.usefixtures("quick")

DAY = BASE_DAY
ENDPOINTS = ("tracks", "users", "listen_history")


@pytest.fixture(scope="module")
def clean(
    prefect_server: None, postgres: str, _template: str, _mock_api: MockApi, tmp_path_factory: pytest.TempPathFactory
) -> Tables:
    """Every table after one run without faults."""
    with temporary_database(postgres, _template) as database:
        return ingest_days(_mock_api, database, tmp_path_factory.mktemp("clean"), [DAY])


def ledger(query: Query) -> dict[str, tuple[str, str | None]]:
    """Status and reason of the newest batch of each endpoint."""
    rows = query("select endpoint, status, reason from ops.batches order by day, revision")
    return {endpoint: (status, reason) for endpoint, status, reason in rows}


def statuses(query: Query) -> dict[str, str]:
    return {endpoint: status for endpoint, (status, _) in ledger(query).items()}


def asked(api: MockApi, endpoint: str) -> dict[int, int]:
    """How often each page of an endpoint was asked for."""
    counts: dict[int, int] = {}
    for entry in api.request_counts()["requests"]:
        if entry["endpoint"] == endpoint:
            counts[entry["page"]] = counts.get(entry["page"], 0) + entry["count"]
    return counts


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port that nobody listens on."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


PASSING = {
    "errors": {"error_share": 0.1},
    "resets": {"reset_share": 0.1},
    "JSON cut": {"cut_share": 0.1},
    "body shorter than promised": {"short_share": 0.1},
    "too many requests": {"rate_limit_share": 0.1, "retry_after": 1},
    "the first two requests of every page fail": {"fail_first": 2},
    "slow answers": {"latency_ms": 80},
    "a page drips": {"endpoint": "listen_history", "page": 2, "drip": 0.05},
    "HTML now and then": {"html_share": 0.1},
    "all at once": {"error_share": 0.1, "reset_share": 0.1, "truncate_share": 0.1, "html_share": 0.05, "latency_ms": 5},
}


@pytest.mark.parametrize("fault", PASSING)
def test_what_passes_leaves_no_trace(
    fault: str, api: MockApi, query: Query, clean: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FETCH_TRIES", "8")
    monkeypatch.setenv("GIVE_UP_AFTER_SECONDS", "30")
    monkeypatch.setenv("READ_TIMEOUT_SECONDS", "15")
    # A whole page would drip for very long, and small pages would wait for each other.
    monkeypatch.setenv("PAGE_SIZE", "10" if fault == "a page drips" else "100" if "first" in fault else "50")
    api.set_faults(PASSING[fault] | {"seed": 3})

    assert main(["--day", DAY]) == 0

    assert database_state(query) == clean
    assert_rows_add_up(query)


# Each run has another fault per endpoint: the reasons of all three must be told, and told apart.
FAILING: dict[str, tuple[list[dict[str, Any]], dict[str, str]]] = {
    "a page fails, one hangs, one is HTML": (
        [
            {"endpoint": "tracks", "page_always_fails": 2},
            {"endpoint": "users", "page": 3, "hang_share": 1},
            {"endpoint": "listen_history", "page": 4, "html_share": 1},
        ],
        {
            "tracks": "/tracks?page=2&size=50: answered 500 (tried ",
            "users": "/users?page=3&size=50: no answer within the time-out (tried ",
            "listen_history": "/listen_history?page=4&size=50: answered 200 with a body that is HTML",
        },
    ),
    "envelopes without items, without total, cut": (
        [
            {"endpoint": "tracks", "missing_items": True},
            {"endpoint": "users", "missing_total": True},
            {"endpoint": "listen_history", "page": 2, "cut_share": 1},
        ],
        {
            "tracks": "/tracks?page=1&size=50: answered 200 without the documented envelope: Object missing",
            "users": "/users?page=1&size=50: answered 200 without the documented envelope: Object missing",
            "listen_history": "/listen_history?page=2&size=50: answered 200 with a body that is not whole JSON",
        },
    ),
    "resets, short bodies, too many requests": (
        [
            {"endpoint": "tracks", "reset_share": 1},
            {"endpoint": "users", "page": 2, "short_share": 1},
            {"endpoint": "listen_history", "rate_limit_share": 1, "retry_after": 86_400},
        ],
        {
            "tracks": "/tracks?page=1&size=50: the connection broke before the whole body came (tried ",
            "users": "/users?page=2&size=50: ",
            "listen_history": "/listen_history?page=1&size=50: answered 429 and asks to wait 86,400 s",
        },
    ),
}


@pytest.mark.parametrize("faults", FAILING)
def test_what_does_not_pass_fails_its_endpoint_and_a_later_run_is_clean(
    faults: str,
    api: MockApi,
    query: Query,
    clean: Tables,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FETCH_TRIES", "2")
    monkeypatch.setenv("READ_TIMEOUT_SECONDS", "0.5")
    groups, reasons = FAILING[faults]
    api.set_faults(*groups)
    began = time.monotonic()

    assert main(["--day", DAY]) == 1

    assert time.monotonic() - began < 40
    for endpoint, (status, reason) in ledger(query).items():
        assert status == "failed"
        assert reason
        assert api.url in reason
        assert reasons[endpoint] in reason
        assert "tried " in reason
    assert not any(warehouse_and_marts(database_state(query)).values())
    told = capfd.readouterr()
    assert "Traceback" not in told.out + told.err
    api.reset()

    assert main(["--day", DAY]) == 0

    assert database_state(query) == clean


def test_a_refusal_is_asked_once_and_told_with_its_remedy(api: MockApi, query: Query, clean: Tables) -> None:
    refusals = {"tracks": 401, "users": 403, "listen_history": 404}
    api.set_faults(*({"endpoint": name, "status": status} for name, status in refusals.items()))

    assert main(["--day", DAY]) == 1

    counted = api.request_counts()["requests"]
    assert [(entry["endpoint"], entry["page"], entry["status"], entry["count"]) for entry in counted] == [
        (name, 1, status, 1) for name, status in refusals.items()
    ]
    told = ledger(query)
    assert {name: status for name, (status, _) in told.items()} == dict.fromkeys(refusals, "failed")
    for name, remedy in {"tracks": "TOKEN", "users": "TOKEN", "listen_history": "MOOVITAMIX_API_URL"}.items():
        assert f"GET {api.url}/{name}?page=1&size=50: answered {refusals[name]}" in str(told[name][1])
        assert remedy in str(told[name][1])
    api.reset()
    assert main(["--day", DAY]) == 0
    assert database_state(query) == clean


def test_the_api_is_down(
    closed_port: int, api: MockApi, query: Query, clean: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOOVITAMIX_API_URL", f"http://127.0.0.1:{closed_port}")
    monkeypatch.setenv("FETCH_TRIES", "2")

    assert main(["--day", DAY]) == 1

    for name, (status, reason) in ledger(query).items():
        assert status == "failed"
        assert f"GET http://127.0.0.1:{closed_port}/{name}?page=1" in str(reason)
        assert "connection refused; is the API running? (tried 2 times" in str(reason)
    monkeypatch.setenv("MOOVITAMIX_API_URL", api.url)
    assert main(["--day", DAY]) == 0
    assert database_state(query) == clean


def test_users_fail_so_tracks_come_in_and_listens_wait_for_them(api: MockApi, query: Query, clean: Tables) -> None:
    api.set_faults({"endpoint": "users", "status": 403})

    assert main(["--day", DAY]) == 1

    assert statuses(query) == {"tracks": "published", "users": "failed", "listen_history": "blocked"}
    before = database_state(query)
    assert before["warehouse.tracks"] == clean["warehouse.tracks"]
    assert before["warehouse.users"] == before["warehouse.listen_history"] == before["mart.user_track_plays"] == []
    assert before["warehouse.listen_history_tracks"] == []
    api.reset()

    assert main(["--day", DAY]) == 0

    assert asked(api, "tracks") == {}
    assert without_revisions(database_state(query)) == without_revisions(clean)
    assert_rows_add_up(query)


def test_a_failed_read_is_taken_up_where_it_stopped(api: MockApi, query: Query, clean: Tables) -> None:
    api.set_faults({"endpoint": "listen_history", "page_always_fails": 7})
    assert main(["--day", DAY]) == 1
    assert statuses(query) == {"tracks": "published", "users": "published", "listen_history": "failed"}
    api.reset()

    assert main(["--day", DAY]) == 0

    # Read are only page 1, to see whether it is the same list, and page 7; then each is looked at once more.
    assert asked(api, "listen_history") == dict.fromkeys(range(1, 11), 1) | {1: 2, 7: 2}
    assert asked(api, "tracks") == asked(api, "users") == {}
    assert database_state(query) == clean


def test_a_read_taken_up_on_a_list_that_moved_begins_anew(api: MockApi, query: Query) -> None:
    api.set_faults({"endpoint": "listen_history", "page_always_fails": 7})
    assert main(["--day", DAY]) == 1
    api.reset()
    api.set_day("2026-11-25")

    assert main(["--day", DAY, "--endpoint", "listen_history"]) in (
        0,
        1,
    )  # new users may be unknown to this day's batch

    reported, landed = query("select rows_reported, rows_landed from ops.batches where endpoint = 'listen_history'")[0]
    assert reported == landed == len(api.rows("listen_history"))
    assert_rows_add_up(query)


@pytest.mark.parametrize("kind", ["insert", "remove", "both"])
def test_a_list_that_moves_and_then_holds_still_is_read_whole(kind: str, api: MockApi, query: Query) -> None:
    moving = {"every": 3, "moves": 2, "kind": kind}
    api.set_faults({"endpoint": "tracks", "moving": moving}, {"endpoint": "users", "moving": moving})

    assert main(["--day", DAY, "--endpoint", "tracks", "--endpoint", "users"]) == 0

    for endpoint in ("tracks", "users"):
        ids = sorted(row["id"] for row in api.rows(endpoint))
        assert len(set(ids)) == len(ids)
        assert [row[0] for row in query(f"select id from warehouse.{endpoint} order by id")] == ids
    assert_rows_add_up(query)


def test_a_list_that_never_holds_still_fails_and_says_so(api: MockApi, query: Query, clean: Tables) -> None:
    api.set_faults({"endpoint": "listen_history", "moving": 3})

    assert main(["--day", DAY]) == 1

    status, reason = ledger(query)["listen_history"]
    assert status == "failed"
    assert "total changed while the list was read; read 4 times" in str(reason)
    assert query("select count(*) from warehouse.listen_history") == [(0,)]
    api.reset()
    assert main(["--day", DAY]) == 0
    assert database_state(query) == clean
