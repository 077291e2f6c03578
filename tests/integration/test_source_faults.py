"""Faults of the source: temporary faults are retried; permanent faults fail one endpoint with a reason."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from logging import LogRecord
from typing import Any

import pytest

from flows.ingest import main
from tests.conftest import BASE_DAY, MockApi, Query, temporary_database
from tests.database_state import assert_rows_add_up, database_state
from tests.ingest_runs import Tables, ingest_days, warehouse_and_marts, without_revisions
from tests.object_stores import Bucket

pytestmark = pytest.mark.usefixtures("quick")

DAY = BASE_DAY
ENDPOINTS = ("tracks", "users", "listen_history")


@pytest.fixture(scope="module")
def clean(
    prefect_server: None, postgres: str, _template: str, _mock_api: MockApi, tmp_path_factory: pytest.TempPathFactory
) -> Tables:
    """The content of every table after a run without faults."""
    with temporary_database(postgres, _template) as database:
        return ingest_days(_mock_api, database, tmp_path_factory.mktemp("clean"), [DAY])


def ledger(query: Query) -> dict[str, tuple[str, str | None]]:
    """The status and reason of the newest batch of each endpoint."""
    rows = query("select endpoint, status, reason from ops.batches order by day, revision")
    return {endpoint: (status, reason) for endpoint, status, reason in rows}


def statuses(query: Query) -> dict[str, str]:
    return {endpoint: status for endpoint, (status, _) in ledger(query).items()}


def requests_by_page(api: MockApi, endpoint: str) -> dict[int, int]:
    """The number of requests for each page of an endpoint."""
    counts: dict[int, int] = {}
    for entry in api.request_counts()["requests"]:
        if entry["endpoint"] == endpoint:
            counts[entry["page"]] = counts.get(entry["page"], 0) + entry["count"]
    return counts


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port on which no process listens."""
    with socket.socket() as bound_socket:
        bound_socket.bind(("127.0.0.1", 0))
        yield bound_socket.getsockname()[1]


TEMPORARY_FAULTS = {
    "errors": {"error_share": 0.1},
    "resets": {"reset_share": 0.1},
    "truncated JSON": {"cut_share": 0.1},
    "short body": {"short_share": 0.1},
    "too many requests": {"rate_limit_share": 0.1, "retry_after": 1},
    "first two requests for every page fail": {"fail_first": 2},
    "slow responses": {"latency_ms": 80},
    "a page drips": {"endpoint": "listen_history", "page": 2, "drip": 0.05},
    "occasional HTML": {"html_share": 0.1},
    "all together": {
        "error_share": 0.1,
        "reset_share": 0.1,
        "truncate_share": 0.1,
        "html_share": 0.05,
        "latency_ms": 5,
    },
}


@pytest.mark.parametrize("fault", TEMPORARY_FAULTS)
def test_temporary_faults_do_not_change_the_result(
    fault: str, api: MockApi, query: Query, clean: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FETCH_TRIES", "8")
    monkeypatch.setenv("GIVE_UP_AFTER_SECONDS", "30")
    monkeypatch.setenv("READ_TIMEOUT_SECONDS", "15")
    # A dripping page must be small. With failing first requests, pages must be few.
    monkeypatch.setenv("PAGE_SIZE", "10" if fault == "a page drips" else "100" if "first" in fault else "50")
    api.set_faults(TEMPORARY_FAULTS[fault] | {"seed": 3})

    assert main(["--day", DAY]) == 0

    assert database_state(query) == clean
    assert_rows_add_up(query)


# Each case has another fault per endpoint; each batch must have its own reason.
PERMANENT_FAULTS: dict[str, tuple[list[dict[str, Any]], dict[str, str]]] = {
    "failing page, hanging page, HTML page": (
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
    "envelope without items, without total, truncated": (
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
            "tracks": "/tracks?page=1&size=50: the connection broke before the whole body arrived (tried ",
            "users": "/users?page=2&size=50: ",
            "listen_history": "/listen_history?page=1&size=50: answered 429 and asks to wait 86,400 s",
        },
    ),
}


@pytest.mark.parametrize("faults", PERMANENT_FAULTS)
def test_permanent_faults_fail_their_endpoint_until_they_end(
    faults: str,
    api: MockApi,
    query: Query,
    clean: Tables,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FETCH_TRIES", "2")
    monkeypatch.setenv("READ_TIMEOUT_SECONDS", "0.5")
    groups, reasons = PERMANENT_FAULTS[faults]
    api.set_faults(*groups)

    assert main(["--day", DAY]) == 1

    for endpoint, (status, reason) in ledger(query).items():
        assert status == "failed"
        assert reason
        assert api.url in reason
        assert reasons[endpoint] in reason
        assert "tried " in reason
    assert not any(warehouse_and_marts(database_state(query)).values())
    output = capfd.readouterr()
    assert "Traceback" not in output.out + output.err
    api.reset()

    assert main(["--day", DAY]) == 0

    assert database_state(query) == clean


def test_refused_request_is_not_retried_and_the_error_names_the_setting(
    api: MockApi, query: Query, clean: Tables
) -> None:
    refusals = {"tracks": 401, "users": 403, "listen_history": 404}
    api.set_faults(*({"endpoint": name, "status": status} for name, status in refusals.items()))

    assert main(["--day", DAY]) == 1

    requests = api.request_counts()["requests"]
    assert [(entry["endpoint"], entry["page"], entry["status"], entry["count"]) for entry in requests] == [
        (name, 1, status, 1) for name, status in refusals.items()
    ]
    batches = ledger(query)
    assert {name: status for name, (status, _) in batches.items()} == dict.fromkeys(refusals, "failed")
    for name, remedy in {"tracks": "TOKEN", "users": "TOKEN", "listen_history": "MOOVITAMIX_API_URL"}.items():
        assert f"GET {api.url}/{name}?page=1&size=50: answered {refusals[name]}" in str(batches[name][1])
        assert remedy in str(batches[name][1])
    api.reset()
    assert main(["--day", DAY]) == 0
    assert database_state(query) == clean


def test_a_rejected_response_logs_its_message_once(api: MockApi, run_log: list[LogRecord]) -> None:
    api.set_faults({"endpoint": "tracks", "status": 404})

    assert main(["--day", DAY, "--endpoint", "tracks"]) == 1

    (record,) = [record for record in run_log if "answered 404" in record.getMessage()]
    assert (record.name, record.levelname) == ("prefect.flow_runs", "ERROR")


def test_a_retried_response_logs_its_message_once_for_each_try(api: MockApi, run_log: list[LogRecord]) -> None:
    api.set_faults({"endpoint": "tracks", "fail_first": 500})

    assert main(["--day", DAY, "--endpoint", "tracks"]) == 1

    retry, failure = [record for record in run_log if "answered 500" in record.getMessage()]
    assert "Retry 1/1" in retry.getMessage()
    assert (failure.name, failure.levelname) == ("prefect.flow_runs", "ERROR")


def test_unreachable_api_fails_all_endpoints(
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


def test_unreachable_cluster_fails_all_endpoints(
    closed_port: int, api: MockApi, query: Query, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DASK_SCHEDULER", f"tcp://127.0.0.1:{closed_port}")
    monkeypatch.setenv("DASK_WORKER_SECONDS", "0.5")
    bucket.set_environment(monkeypatch, "LANDING_URL")  # without it, workers land no pages

    assert main(["--day", DAY]) == 1

    batches = ledger(query)
    assert {name: status for name, (status, _) in batches.items()} == dict.fromkeys(ENDPOINTS, "failed")
    assert all("(DASK_SCHEDULER) does not answer within 0.5 s" in str(reason) for _, reason in batches.values())


def test_failed_users_block_sessions_but_not_tracks(api: MockApi, query: Query, clean: Tables) -> None:
    api.set_faults({"endpoint": "users", "status": 403})

    assert main(["--day", DAY]) == 1

    assert statuses(query) == {"tracks": "published", "users": "failed", "listen_history": "blocked"}
    state = database_state(query)
    assert state["warehouse.tracks"] == clean["warehouse.tracks"]
    assert state["warehouse.users"] == state["warehouse.listen_history"] == state["mart.user_track_plays"] == []
    assert state["warehouse.listen_history_tracks"] == []
    api.reset()

    assert main(["--day", DAY]) == 0

    assert requests_by_page(api, "tracks") == {}
    assert without_revisions(database_state(query)) == without_revisions(clean)
    assert_rows_add_up(query)


def test_failed_extraction_resumes_where_it_stopped(api: MockApi, query: Query, clean: Tables) -> None:
    api.set_faults({"endpoint": "listen_history", "page_always_fails": 7})
    assert main(["--day", DAY]) == 1
    assert statuses(query) == {"tracks": "published", "users": "published", "listen_history": "failed"}
    api.reset()

    assert main(["--day", DAY]) == 0

    # Page 1 (to detect changes) and page 7 are fetched. The final check then fetches every page once.
    assert requests_by_page(api, "listen_history") == dict.fromkeys(range(1, 11), 1) | {1: 2, 7: 2}
    assert requests_by_page(api, "tracks") == requests_by_page(api, "users") == {}
    assert database_state(query) == clean


def test_extraction_restarts_if_the_snapshot_changed(api: MockApi, query: Query) -> None:
    api.set_faults({"endpoint": "listen_history", "page_always_fails": 7})
    assert main(["--day", DAY]) == 1
    api.reset()
    api.set_day("2026-11-25")

    # Exit code 1 is possible: new users can be unknown to the batch of this day.
    assert main(["--day", DAY, "--endpoint", "listen_history"]) in (0, 1)

    reported, landed = query("select rows_reported, rows_landed from ops.batches where endpoint = 'listen_history'")[0]
    assert reported == landed == len(api.rows("listen_history"))
    assert_rows_add_up(query)


@pytest.mark.parametrize("kind", ["insert", "remove", "both"])
def test_snapshot_that_stops_changing_is_read_completely(kind: str, api: MockApi, query: Query) -> None:
    moving = {"every": 3, "moves": 2, "kind": kind}
    api.set_faults({"endpoint": "tracks", "moving": moving}, {"endpoint": "users", "moving": moving})

    assert main(["--day", DAY, "--endpoint", "tracks", "--endpoint", "users"]) == 0

    for endpoint in ("tracks", "users"):
        ids = sorted(row["id"] for row in api.rows(endpoint))
        assert len(set(ids)) == len(ids)
        assert [row[0] for row in query(f"select id from warehouse.{endpoint} order by id")] == ids
    assert_rows_add_up(query)


def test_snapshot_that_keeps_changing_fails_with_a_reason(api: MockApi, query: Query, clean: Tables) -> None:
    api.set_faults({"endpoint": "listen_history", "moving": 3})

    assert main(["--day", DAY]) == 1

    status, reason = ledger(query)["listen_history"]
    assert status == "failed"
    assert "total changed during extraction; read 4 times" in str(reason)
    assert query("select count(*) from warehouse.listen_history") == [(0,)]
    api.reset()
    assert main(["--day", DAY]) == 0
    assert database_state(query) == clean
