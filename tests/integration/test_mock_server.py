"""The mock API as a running server: the recorded contract, the control endpoints and every fault."""

import json
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

ROOT = Path(__file__).parents[2]
CONTRACT = ROOT / "tests" / "data" / "contract"
ENDPOINTS = ("tracks", "users", "listen_history")
TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}")
ARGUMENTS = ("--port", "0", "--day", "2026-11-22")


def start(*arguments: str) -> tuple[subprocess.Popen[str], str]:
    """Start a server. Returns the process and the address that it prints."""
    command = [sys.executable, "-m", "mock_server", *ARGUMENTS, *arguments]
    server = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert server.stdout
    line = server.stdout.readline()
    assert line.startswith("mock API ready: "), line
    return server, line.removeprefix("mock API ready: ").strip()


def stop(server: subprocess.Popen[str]) -> tuple[int, str]:
    server.terminate()
    _, errors = server.communicate(timeout=60)
    return server.returncode, errors


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    server, address = start()
    yield address
    assert stop(server) == (0, "")


@pytest.fixture
def api(address: str) -> Iterator["MockClient"]:
    with requests.Session() as session:
        api = MockClient(address, session)
        yield api
        session.delete(f"{address}/_control/faults")
        session.delete(f"{address}/_control/requests")
        session.put(f"{address}/_control/scenarios", json={})
        api.set_day("2026-11-22")


class MockClient:
    """A client of the pages and the control endpoints."""

    def __init__(self, address: str, session: requests.Session) -> None:
        self.address = address
        self._session = session

    def get(self, path: str, timeout: float = 5.0, **parameters: Any) -> requests.Response:
        return self._session.get(f"{self.address}{path}", params=parameters, timeout=timeout, allow_redirects=False)

    def page(self, endpoint: str, **parameters: Any) -> Any:
        response = self.get(f"/{endpoint}", **parameters)
        assert response.status_code == 200, response.text
        return response.json()

    def every_row(self, endpoint: str) -> list[Any]:
        first = self.page(endpoint, size=100)
        further_pages = [self.page(endpoint, size=100, page=page) for page in range(2, first["pages"] + 1)]
        return [row for page in [first, *further_pages] for row in page["items"]]

    def set_faults(self, *groups: dict[str, Any]) -> None:
        response = self._session.put(f"{self.address}/_control/faults", json=list(groups))
        assert response.status_code == 200, response.text

    def set_day(self, day: str) -> None:
        response = self._session.post(f"{self.address}/_control/day", json={"day": day})
        assert response.status_code == 200, response.text

    def set_scenarios(self, **scenarios: Any) -> Any:
        response = self._session.put(f"{self.address}/_control/scenarios", json=scenarios)
        assert response.status_code == 200, response.text
        return response.json()

    def feedback(self, shown: Any) -> requests.Response:
        return self._session.post(f"{self.address}/_control/answers", json=shown, timeout=60)

    def statuses(self, path: str, times: int, **parameters: Any) -> list[int]:
        return [self.get(path, **parameters).status_code for _ in range(times)]


# --- the contract ------------------------------------------------------------------------------------------------


def shape(value: Any) -> Any:
    """The type and format of a value; for a list also its length."""
    if isinstance(value, str):
        return (
            "timestamp" if TIMESTAMP.fullmatch(value) else "duration" if re.fullmatch(r"\d\d:\d\d", value) else "text"
        )
    return [shape(value[0]), len(value)] if isinstance(value, list) else type(value).__name__


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_pages_have_the_shape_of_the_recorded_pages(api: MockClient, endpoint: str) -> None:
    recorded = json.loads((CONTRACT / f"{endpoint}.page1.json").read_text())
    page = api.page(endpoint, size=100)
    assert list(page) == list(recorded)
    assert {name: page[name] for name in page if name != "items"} == {
        "total": 1000,
        "page": 1,
        "size": 100,
        "pages": 10,
    }
    expected = {name: shape(value) for name, value in recorded["items"][0].items()}
    for row in page["items"]:
        assert {name: shape(value) for name, value in row.items()} == expected
        assert list(row) == list(expected)


@pytest.mark.parametrize("field", ["gender", "favorite_genres"])
def test_users_have_the_recorded_values(api: MockClient, field: str) -> None:
    recorded = json.loads((CONTRACT / "users.page1.json").read_text())["items"]
    assert {row[field] for row in api.every_row("users")} == {row[field] for row in recorded}


def test_page_and_size_select_rows(api: MockClient) -> None:
    assert api.page("tracks")["size"] == len(api.page("tracks")["items"]) == 50
    assert api.page("tracks", page=11, size=100)["items"] == []
    assert api.page("tracks", page=2, size=7)["items"] == api.page("tracks")["items"][7:14]
    assert api.page("tracks", since="2026-01-01") == api.page("tracks")
    assert api.page("tracks", page=143, size=7)["pages"] == 143


@pytest.mark.parametrize(
    ("name", "value", "kind"),
    [
        ("page", "0", "greater_than_equal"),
        ("page", "-1", "greater_than_equal"),
        ("size", "0", "greater_than_equal"),
        ("size", "101", "less_than_equal"),
        ("size", "many", "int_parsing"),
        ("page", "", "int_parsing"),
        ("page", "1.5", "int_parsing"),
    ],
)
def test_page_or_size_out_of_bounds_is_422(api: MockClient, name: str, value: str, kind: str) -> None:
    response = api.get("/users", **{name: value})
    assert response.status_code == 422
    (error,) = response.json()["detail"]
    assert (error["type"], error["loc"], error["input"]) == (kind, ["query", name], value)


def test_unknown_paths_and_methods_are_errors(api: MockClient) -> None:
    assert api.get("//tracks").status_code == 404
    assert api.get("/nothing").json() == {"detail": "Not Found"}
    redirect = api.get("/tracks/", page=2)
    assert (redirect.status_code, redirect.headers["location"]) == (307, f"{api.address}/tracks?page=2")
    assert requests.head(f"{api.address}/tracks", timeout=60).status_code == 405
    assert requests.post(f"{api.address}/tracks", timeout=60).status_code == 405


def test_requests_on_one_connection_are_answered_in_order(address: str) -> None:
    host, port = address.removeprefix("http://").split(":")
    pipelined = b"".join(b"GET /tracks?size=1&page=%d HTTP/1.1\r\n\r\n" % page for page in range(1, 51))
    with socket.create_connection((host, int(port)), timeout=60) as client:
        client.sendall(pipelined + b"GET /users?size=1 HTTP/1.1\r\nConnection: close\r\n\r\n")
        received = b"".join(iter(lambda: client.recv(65536), b""))
    assert [int(page) for page in re.findall(rb'"page":(\d+)', received)] == [*range(1, 51), 1]


def test_responses_depend_only_on_options_and_seed(api: MockClient) -> None:
    for arguments, is_same in (((), True), (("--seed", "8"), False)):
        server, address = start(*arguments)
        users = requests.get(f"{address}/users", timeout=60).content
        assert (users == api.get("/users").content) is is_same
        stop(server)


# --- start, stop, token ------------------------------------------------------------------------------------------


def test_pages_require_the_token_and_control_endpoints_do_not() -> None:
    server, address = start("--token", "secret", "--fault", "users:status=404")
    with_token = {"Authorization": "Bearer secret"}
    assert requests.get(f"{address}/tracks", timeout=60).status_code == 401
    assert requests.get(f"{address}/tracks", headers={"Authorization": "Bearer x"}, timeout=60).status_code == 403
    assert requests.get(f"{address}/tracks", headers=with_token, timeout=60).status_code == 200
    assert requests.get(f"{address}/users", headers=with_token, timeout=60).status_code == 404
    assert requests.get(f"{address}/_control/health", timeout=60).json()["status"] == "ok"
    server.send_signal(signal.SIGINT)
    assert server.wait(timeout=60) == 0


@pytest.mark.parametrize(("arguments", "status"), [(["--size", "x"], 2), (["--fault", "x=1"], 2)])
def test_invalid_arguments_end_with_a_message(arguments: list[str], status: int) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "mock_server", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert result.returncode == status
    assert "error: " in result.stderr and "Traceback" not in result.stderr


def test_port_in_use_is_reported(address: str) -> None:
    port = address.rpartition(":")[2]
    command = [sys.executable, "-m", "mock_server", "--port", port]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert result.returncode == 1
    assert f"cannot listen on 127.0.0.1:{port}" in result.stderr and "Traceback" not in result.stderr


# --- control -----------------------------------------------------------------------------------------------------


def test_day_can_move_forward_and_back(api: MockClient) -> None:
    original_page = api.get("/listen_history").content
    api.set_day("2026-12-22")
    health = api.get("/_control/health").json()
    assert health["day"] == "2026-12-22"
    assert health["totals"]["listen_history"] > 1200
    assert len(api.every_row("listen_history")) == health["totals"]["listen_history"]
    api.set_day("2026-11-22")
    assert api.get("/listen_history").content == original_page


@pytest.mark.parametrize("body", ["", "[]", '{"day": "tomorrow"}', '{"day": "1999-01-01"}', '{"day": 5}'])
def test_invalid_days_are_refused(api: MockClient, body: str) -> None:
    assert requests.post(f"{api.address}/_control/day", data=body, timeout=60).status_code == 422


def test_requests_are_counted(api: MockClient) -> None:
    api.set_faults({"endpoint": "users", "status": 503})
    api.statuses("/tracks", 2, page=3)
    api.statuses("/users", 1)
    api.get("/users", page=0)
    counts = api.get("/_control/requests").json()
    assert counts["by_endpoint"] == {"tracks": 2, "users": 2, "listen_history": 0}
    assert counts["requests"] == [
        {"endpoint": "tracks", "page": 3, "status": 200, "delivery": "whole", "count": 2},
        {"endpoint": "users", "page": 1, "status": 503, "delivery": "whole", "count": 1},
        {"endpoint": "users", "page": None, "status": 422, "delivery": "whole", "count": 1},
    ]
    assert requests.delete(f"{api.address}/_control/requests", timeout=60).json()["total"] == 0


def test_truth_ranks_listed_tracks(api: MockClient) -> None:
    user = api.page("users")["items"][5]["id"]
    truth = api.get("/_control/truth", user_id=user, n=10).json()
    probabilities = [entry["probability"] for entry in truth["tracks"]]
    assert len(probabilities) == 10 and probabilities == sorted(probabilities, reverse=True)
    assert 0 < sum(probabilities) < 1
    assert {entry["track_id"] for entry in truth["tracks"]} <= {row["id"] for row in api.every_row("tracks")}
    assert api.get("/_control/truth", user_id=-1).status_code == 404
    assert api.get("/_control/truth").status_code == 422


def test_faults_can_be_read_and_cleared(api: MockClient) -> None:
    group = {"endpoint": "tracks", "page": 2, "first": 3, "seed": 4, "error_share": 0.5}
    api.set_faults(group)
    assert api.get("/_control/faults").json() == [group]
    assert requests.delete(f"{api.address}/_control/faults", timeout=60).json() == []
    assert api.get("/_control/nothing").status_code == 404
    assert requests.post(f"{api.address}/_control/faults", timeout=60).status_code == 405


@pytest.mark.parametrize(
    "group", [{"error_share": 2}, {"nothing": 1}, {"endpoint": "x"}, {"page": "1"}, {"half": 1}, 5, {"moving": {}}]
)
def test_invalid_faults_are_refused_and_change_nothing(api: MockClient, group: Any) -> None:
    api.set_faults({"status": 503})
    response = requests.put(f"{api.address}/_control/faults", json=group, timeout=60)
    assert response.status_code == 422 and response.json()["detail"]
    assert api.get("/tracks").status_code == 503


# --- scenarios ---------------------------------------------------------------------------------------------------

NO_SCENARIOS = {"taste_shift": None, "catalogue_shift": None, "outage": None}


def test_scenarios_can_be_read_and_replaced_without_changing_the_day(api: MockClient) -> None:
    assert api.get("/_control/scenarios").json() == NO_SCENARIOS
    api.set_day("2026-11-24")
    page_without_scenarios = api.get("/tracks", page=11, size=100).content
    shift = {"day": "2026-11-23", "share": 0.5}
    assert api.set_scenarios(catalogue_shift=shift) == NO_SCENARIOS | {"catalogue_shift": shift}
    health = api.get("/_control/health").json()
    assert (health["day"], health["totals"]["tracks"] > 1090) == ("2026-11-24", True)
    assert api.get("/tracks", page=11, size=100).content != page_without_scenarios
    assert api.set_scenarios(outage={"day": "2026-11-25"}) == NO_SCENARIOS | {"outage": {"day": "2026-11-25"}}
    assert api.get("/tracks", page=11, size=100).content == page_without_scenarios
    assert api.get("/_control/scenarios").json()["outage"] == {"day": "2026-11-25"}


def test_scenarios_give_the_same_pages_whether_set_at_runtime_or_at_start(api: MockClient) -> None:
    options = ("--taste-shift", "2026-11-22=0.5", "--catalogue-shift", "2026-11-23=0.4", "--outage", "2026-11-23")
    server, address = start("--base-day", "2026-11-22", "--day", "2026-11-24", *options)
    api.set_day("2026-11-24")
    api.set_scenarios(
        taste_shift={"day": "2026-11-22", "share": 0.5},
        catalogue_shift={"day": "2026-11-23", "share": 0.4},
        outage={"day": "2026-11-23"},
    )
    for endpoint in ENDPOINTS:
        last = api.page(endpoint, size=100)["pages"]
        page = requests.get(f"{address}/{endpoint}", params={"page": last, "size": 100}, timeout=60)
        assert page.content == api.get(f"/{endpoint}", page=last, size=100).content
    stop(server)


def test_outage_lists_the_afternoon_a_day_late(api: MockClient) -> None:
    def sessions_of(day: str) -> list[Any]:
        api.set_day(day)
        return api.every_row("listen_history")

    days = ("2026-11-23", "2026-11-24", "2026-11-25", "2026-11-26")
    without_outage = [sessions_of(day) for day in days]
    api.set_scenarios(outage={"day": "2026-11-23"})
    with_outage = [sessions_of(day) for day in days]
    assert [plain == late for plain, late in zip(without_outage, with_outage, strict=True)] == [True, False, True, True]
    missing = [row for row in without_outage[1] if row not in with_outage[1]]
    assert missing and all("2026-11-23T12:00" <= row["created_at"] < "2026-11-24" for row in missing)


@pytest.mark.parametrize(
    "body",
    [
        "",
        "[]",
        '{"quiet": null}',
        '{"outage": {"day": "soon"}}',
        '{"taste_shift": {"day": "2026-12-01", "share": 2}}',
        '{"taste_shift": {"day": "2026-12-01", "share": NaN}}',
        '{"catalogue_shift": {"day": "2026-11-21", "share": 0.5}}',
    ],
)
def test_invalid_scenarios_are_refused_and_change_nothing(api: MockClient, body: str) -> None:
    scenarios = api.set_scenarios(outage={"day": "2026-11-25"})
    response = requests.put(f"{api.address}/_control/scenarios", data=body, timeout=60)
    assert response.status_code == 422 and response.json()["detail"]
    assert api.get("/_control/scenarios").json() == scenarios


# --- feedback of users -------------------------------------------------------------------------------------------


def best_tracks(api: MockClient, users: list[int]) -> list[dict[str, Any]]:
    """The most likely tracks of each user, as a feedback request."""
    truths = [api.get("/_control/truth", user_id=user).json() for user in users]
    return [
        {"user_id": truth["user_id"], "tracks": [track["track_id"] for track in truth["tracks"]]} for truth in truths
    ]


def useful_share(response: requests.Response) -> float:
    assert response.status_code == 200, response.text
    useful = [is_useful for entry in response.json() for is_useful in entry["useful"]]
    return sum(useful) / len(useful)


def test_feedback_follows_the_taste_of_the_day(api: MockClient) -> None:
    users = [row["id"] for row in api.every_row("users")][:100]
    best = best_tracks(api, users)
    response = api.feedback(best)
    assert [entry["user_id"] for entry in response.json()] == users
    assert api.feedback(best).content == response.content
    assert useful_share(response) > 0.9
    api.set_scenarios(taste_shift={"day": "2026-11-22", "share": 1.0})
    assert useful_share(api.feedback(best)) > 0.9
    api.set_day("2026-11-23")
    assert useful_share(api.feedback(best)) < 0.6


def test_unknown_users_and_tracks_are_named_in_the_error(api: MockClient) -> None:
    user, track = (api.page(endpoint)["items"][0]["id"] for endpoint in ("users", "tracks"))
    for shown, words in (
        ([{"user_id": user, "tracks": [track, -4, -5]}], "no track has the id -4"),
        ([{"user_id": user, "tracks": [track]}, {"user_id": -3, "tracks": []}], "no user has the id -3"),
    ):
        response = api.feedback(shown)
        assert (response.status_code, response.json()) == (404, {"detail": words})


@pytest.mark.parametrize(
    "shown",
    [
        {},
        [5],
        [{"user_id": "1", "tracks": []}],
        [{"user_id": 1}],
        [{"user_id": 1, "tracks": [True]}],
        [{"user_id": 10**30, "tracks": []}],
        [{"user_id": 1, "tracks": [], "more": 1}],
    ],
)
def test_invalid_feedback_requests_are_refused(api: MockClient, shown: Any) -> None:
    response = api.feedback(shown)
    assert response.status_code == 422 and "must be like" in response.json()["detail"]


# --- response faults ---------------------------------------------------------------------------------------------


def test_error_share_is_kept_and_reproducible(api: MockClient) -> None:
    runs = []
    for seed in (1, 1, 2):
        api.set_faults({"seed": seed, "error_share": 0.3})
        runs.append([api.get("/tracks", size=1, page=page).status_code for page in range(1, 301)])
    assert runs[0] == runs[1] != runs[2]
    assert set(runs[0]) == {200, 500, 503}
    assert 0.2 < sum(status != 200 for status in runs[0]) / 300 < 0.4


def test_rate_limit_sets_retry_after(api: MockClient) -> None:
    api.set_faults({"rate_limit_share": 1, "retry_after": 7})
    response = api.get("/tracks")
    assert (response.status_code, response.headers["retry-after"]) == (429, "7")


def test_fail_first_fails_the_first_requests_for_every_page(api: MockClient) -> None:
    api.set_faults({"fail_first": 2})
    assert api.statuses("/tracks", 4, page=1) == api.statuses("/tracks", 4, page=2) == [500, 500, 200, 200]


def test_faults_apply_only_within_their_scope(api: MockClient) -> None:
    api.set_faults(
        {"endpoint": "tracks", "page": 2, "first": 1, "status": 404}, {"endpoint": "users", "page_always_fails": 3}
    )
    assert api.statuses("/tracks", 2, page=2) == [404, 200]
    assert api.statuses("/tracks", 2, page=1) == [200, 200]
    assert api.statuses("/users", 3, page=3) == [500] * 3
    assert api.statuses("/users", 1, page=2) == [200]


@pytest.mark.parametrize("status", [401, 403, 404, 418, 500, 502])
def test_status_applies_to_every_response(api: MockClient, status: int) -> None:
    api.set_faults({"status": status})
    assert api.statuses("/tracks", 2) == [status] * 2
    assert api.get("/tracks").json()["detail"]


def test_html_share_returns_html_with_status_200(api: MockClient) -> None:
    api.set_faults({"html_share": 1})
    response = api.get("/tracks")
    assert response.status_code == 200 and response.headers["content-type"].startswith("text/html")
    with pytest.raises(ValueError):
        response.json()


def test_cut_share_cuts_json_and_content_length(api: MockClient) -> None:
    api.set_faults({"cut_share": 1})
    response = api.get("/tracks")
    assert len(response.content) == int(response.headers["content-length"])
    with pytest.raises(ValueError):
        response.json()


def test_short_share_ends_before_content_length(api: MockClient) -> None:
    api.set_faults({"short_share": 1})
    with pytest.raises(requests.exceptions.ChunkedEncodingError, match="IncompleteRead"):
        api.get("/tracks")


def test_truncate_share_gives_both_kinds_of_cut(api: MockClient) -> None:
    api.set_faults({"truncate_share": 1})
    kinds = set()
    for page in range(1, 21):
        try:
            assert not api.get("/tracks", page=page).text.endswith("}")
            kinds.add("cut")
        except requests.exceptions.ChunkedEncodingError:
            kinds.add("short")
    assert kinds == {"cut", "short"}


def test_reset_share_resets_the_connection(api: MockClient) -> None:
    api.set_faults({"reset_share": 1})
    with pytest.raises((requests.exceptions.ConnectionError, requests.exceptions.ChunkedEncodingError), match="reset"):
        api.get("/tracks")
    assert api.get("/_control/requests").json()["requests"][0]["delivery"] == "reset"


def test_latency_delays_responses(api: MockClient) -> None:
    api.set_faults({"latency_ms": 200})
    started = time.monotonic()
    assert api.get("/tracks").status_code == 200
    assert time.monotonic() - started >= 0.2


def test_hanging_page_does_not_block_the_next_page(api: MockClient) -> None:
    api.set_faults({"page": 2, "hang_share": 1})
    with pytest.raises(requests.exceptions.ReadTimeout):
        api.get("/tracks", page=2, timeout=0.3)
    assert api.statuses("/tracks", 1, page=3) == [200]


def test_drip_delivers_the_page_slowly(api: MockClient) -> None:
    expected = api.page("tracks", size=1)
    api.set_faults({"drip": 1})
    started = time.monotonic()
    assert api.page("tracks", size=1) == expected
    assert time.monotonic() - started > 0.2


# --- row faults --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["items", "total"])
def test_missing_field_is_absent_from_the_envelope(api: MockClient, name: str) -> None:
    api.set_faults({f"missing_{name}": True})
    assert set(api.page("tracks")) == {"items", "total", "page", "size", "pages"} - {name}


def test_empty_endpoint_has_total_zero(api: MockClient) -> None:
    api.set_faults({"endpoint": "users", "empty": True})
    assert api.page("users") == {"items": [], "total": 0, "page": 1, "size": 50, "pages": 0}
    assert api.page("tracks")["total"] == 1000


def test_half_lists_the_first_half_of_the_rows(api: MockClient) -> None:
    whole = api.every_row("listen_history")
    api.set_faults({"half": True})
    assert api.page("listen_history")["total"] == 500
    assert api.every_row("listen_history") == whole[:500]


def test_wrong_endpoint_lists_rows_of_another_endpoint(api: MockClient) -> None:
    users = api.page("users")
    api.set_faults({"endpoint": "tracks", "wrong_endpoint": "users"})
    assert api.page("tracks") == users


def test_schema_drift_adds_and_renames_fields(api: MockClient) -> None:
    api.set_faults({"endpoint": "tracks", "schema_drift": "mood", "renamed_field": {"artist": "artist_name"}})
    row = api.page("tracks")["items"][0]
    assert {"mood", "artist_name"} <= set(row) and "artist" not in row


def test_moving_inserts_rows_and_stops(api: MockClient) -> None:
    original = api.every_row("tracks")
    api.set_faults({"moving": {"every": 4, "moves": 2}})
    read_during_change = [row["id"] for row in api.every_row("tracks")]
    assert len(set(read_during_change)) < len(read_during_change)
    final_ids = [row["id"] for row in api.every_row("tracks")]
    assert len(set(final_ids)) == len(final_ids) == 1002
    assert final_ids[2:] == [row["id"] for row in original]


def test_moving_can_remove_rows_and_can_continue(api: MockClient) -> None:
    original = [row["id"] for row in api.every_row("users")]
    api.set_faults({"moving": {"every": 4, "moves": 2, "kind": "remove"}})
    read_during_change = [row["id"] for row in api.every_row("users")]
    assert set(read_during_change) < set(original) and len(read_during_change) < 1000
    assert [row["id"] for row in api.every_row("users")] == original[2:]
    api.set_faults({"moving": 1})
    assert [api.page("listen_history")["total"] for _ in range(4)] == [1000, 1001, 1002, 1003]
    api.set_faults({"moving": {"every": 1, "kind": "both"}})
    assert [api.page("listen_history")["total"] for _ in range(4)] == [1000, 1001, 1000, 1001]


# --- malformed rows ----------------------------------------------------------------------------------------------

Check = Callable[[Any, dict[str, Any]], bool]
ANY_ENDPOINT = "any endpoint"
KINDS: dict[str, tuple[str, Check]] = {
    "id_null": (ANY_ENDPOINT, lambda row, key: row[key["id"]] is None),
    "id_missing": (ANY_ENDPOINT, lambda row, key: key["id"] not in row),
    "id_text": (ANY_ENDPOINT, lambda row, key: row[key["id"]] == "abc"),
    "id_float": (ANY_ENDPOINT, lambda row, key: row[key["id"]] == 12.5),
    "id_negative": (ANY_ENDPOINT, lambda row, key: row[key["id"]] == -5),
    "id_huge": (ANY_ENDPOINT, lambda row, key: row[key["id"]] == 10**30),
    "id_boolean": (ANY_ENDPOINT, lambda row, key: row[key["id"]] is True),
    "date_null": (ANY_ENDPOINT, lambda row, _: row["created_at"] is None),
    "date_missing": (ANY_ENDPOINT, lambda row, _: "created_at" not in row),
    "date_impossible": (ANY_ENDPOINT, lambda row, _: row["created_at"].startswith("2026-02-30T")),
    "date_empty": (ANY_ENDPOINT, lambda row, _: row["created_at"] == ""),
    "date_zoned": (ANY_ENDPOINT, lambda row, _: row["created_at"].endswith("+02:00")),
    "date_utc": (ANY_ENDPOINT, lambda row, _: row["created_at"].endswith("Z")),
    "date_future": (ANY_ENDPOINT, lambda row, _: row["updated_at"] > "2999"),
    "date_null:updated_at": (ANY_ENDPOINT, lambda row, _: row["updated_at"] is None),
    "field_missing": (ANY_ENDPOINT, lambda row, key: key["text"] not in row),
    "field_null": (ANY_ENDPOINT, lambda row, key: row[key["text"]] is None),
    "field_wrong_type": (ANY_ENDPOINT, lambda row, key: type(row[key["text"]]) is not key["type"]),
    "field_missing:album": ("tracks", lambda row, _: "album" not in row),
    "record_null": (ANY_ENDPOINT, lambda row, _: row is None),
    "record_text": (ANY_ENDPOINT, lambda row, _: isinstance(row, str)),
    "record_list": (ANY_ENDPOINT, lambda row, _: isinstance(row, list)),
    "text_nul": ("users", lambda row, _: "\x00" in row["first_name"]),
    "text_emoji": ("tracks", lambda row, _: "\U0001f3b5" in row["name"]),
    "text_long": ("tracks", lambda row, _: len(row["name"]) == 100_000),
    "text_surrogate": ("users", lambda row, _: row["first_name"] == "\ud83c"),
    "duration_zero": ("tracks", lambda row, _: row["duration"] == "00:00"),
    "duration_short": ("tracks", lambda row, _: row["duration"] == "3:5"),
    "duration_overflow": ("tracks", lambda row, _: row["duration"] == "99:99"),
    "duration_hours": ("tracks", lambda row, _: row["duration"] == "1:02:03"),
    "copy_exact": (ANY_ENDPOINT, lambda row, key: row == key["first"]),
    "copy_older": (
        ANY_ENDPOINT,
        lambda row, key: is_other_version(row, key) and row["updated_at"] < key["first"]["updated_at"],
    ),
    "copy_newer": (
        ANY_ENDPOINT,
        lambda row, key: is_other_version(row, key) and row["updated_at"] > key["first"]["updated_at"],
    ),
    "items_null": ("listen_history", lambda row, _: row["items"] is None),
    "items_empty": ("listen_history", lambda row, _: row["items"] == []),
    "items_with_null": ("listen_history", lambda row, _: None in row["items"]),
    "items_with_text": ("listen_history", lambda row, _: "abc" in row["items"]),
    "items_repeated": ("listen_history", lambda row, _: len(row["items"]) == len(set(row["items"])) + 1),
    "items_unknown": ("listen_history", lambda row, _: 99_999_996 in row["items"]),
    "user_unknown": ("listen_history", lambda row, _: row["user_id"] == 99_999_996),
    "email_shared": (
        "users",
        lambda row, key: row["email"] == key["first"]["email"] and row["id"] != key["first"]["id"],
    ),
    "gender_new": ("users", lambda row, _: row["gender"] == "Two-Spirit"),
    "genre_new": ("users", lambda row, _: row["favorite_genres"] == "Hyperpop"),
}


def is_other_version(row: dict[str, Any], key: dict[str, Any]) -> bool:
    """Whether the row has the identity of the first row and other content."""
    names = [name for name in ("id", "user_id", "created_at") if name in row]
    return all(row[name] == key["first"][name] for name in names) and row != key["first"]


def test_all_kinds_of_bad_rows_are_described_and_tested(api: MockClient) -> None:
    described = api.get("/_control/kinds").json()
    assert set(described["bad_rows"]) == {kind.partition(":")[0] for kind in KINDS}
    assert all(kind["meaning"] for kind in described["bad_rows"].values())


CASES = [
    (kind, endpoint)
    for kind, (scope, _) in KINDS.items()
    for endpoint in (ENDPOINTS if scope == ANY_ENDPOINT else (scope,))
]


@pytest.mark.parametrize(("kind", "endpoint"), CASES)
def test_malformed_rows_follow_all_good_rows(api: MockClient, kind: str, endpoint: str) -> None:
    first = api.page(endpoint, size=1)["items"][0]
    last_good = api.page(endpoint, size=1, page=1000)["items"]
    api.set_faults({"endpoint": endpoint, "bad_rows": {kind: 2}})
    pages = [api.page(endpoint, size=1, page=page) for page in (1000, 1001, 1002, 1003)]
    assert [page["total"] for page in pages] == [1002] * 4
    assert (pages[0]["items"], pages[3]["items"]) == (last_good, [])
    has_sessions = endpoint == "listen_history"
    text = {"tracks": "name", "users": "first_name", "listen_history": "items"}[endpoint]
    key = {
        "id": "user_id" if has_sessions else "id",
        "text": text,
        "type": list if has_sessions else str,
        "first": first,
    }
    assert KINDS[kind][1](pages[1]["items"][0], key)


def test_malformed_rows_are_inserted_at_place(api: MockClient) -> None:
    good = api.every_row("users")
    api.set_faults({"endpoint": "users", "place": 120, "bad_rows": {"id_null": 1, "copy_exact": 1, "email_shared": 1}})
    rows = api.every_row("users")
    assert rows[:120] + rows[123:] == good
    assert rows[120]["id"] is None
    assert rows[121] == good[1]
    assert rows[122]["email"] == good[2]["email"]


def _has_ipv6() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


@pytest.mark.parametrize(
    "host", ["127.0.0.1", pytest.param("::1", marks=pytest.mark.skipif(not _has_ipv6(), reason="needs IPv6"))]
)
def test_printed_addresses_respond(host: str) -> None:
    command = [sys.executable, "-m", "mock_server", "--host", host, "--port", "0"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            ready, first_page = process.stdout.readline(), process.stdout.readline()
            url = ready.split()[-1]
            assert first_page.split()[-1] == f"{url}/tracks?page=1"
            assert requests.get(first_page.split()[-1], timeout=60).json()["page"] == 1
        finally:
            process.terminate()
