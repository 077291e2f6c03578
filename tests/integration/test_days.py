"""Ingests of many days: merges equal a naive recomputation, suspicious snapshots are blocked, reruns are idempotent."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from flows.ingest import main
from tests.conftest import BASE_DAY, ROOT, SESSIONS, TRACKS, USERS, MockApi, Query, start_mock_api, temporary_database
from tests.database_state import assert_rows_add_up, database_state
from tests.ingest_runs import Tables, template_with_days, warehouse_and_marts

pytestmark = pytest.mark.usefixtures("quick")

DAY, NEXT_DAY = BASE_DAY, "2026-11-21"
ENDPOINTS = ("tracks", "users", "listen_history")
KEYS = {"tracks": ("id",), "users": ("id",), "listen_history": ("user_id", "created_at")}
Row = dict[str, Any]


@pytest.fixture(scope="module")
def first_day(
    prefect_server: None, postgres: str, _template: str, _mock_api: MockApi, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Tables]:
    name = "template_of_first_day"
    with template_with_days(postgres, name, _mock_api, tmp_path_factory.mktemp("first"), _template, [DAY]) as tables:
        yield tables


@pytest.fixture
def database(first_day: Tables, postgres: str) -> Iterator[str]:
    """A database with the first day published."""
    with temporary_database(postgres, "template_of_first_day") as url:
        yield url


def ledger(query: Query, day: str) -> dict[str, tuple[str, str]]:
    """The batch id and status of the newest revision of each endpoint on a day."""
    rows = query("select endpoint, batch_id, status from ops.batches where day = %s order by revision", day)
    return {endpoint: (batch_id, status) for endpoint, batch_id, status in rows}


def test_folders_with_personal_data_are_private(
    environment: Path, prefect_server: None, empty_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", empty_database)
    assert main(["--day", DAY, "--endpoint", "users"]) == 0
    assert {(environment / name).stat().st_mode & 0o777 for name in ("landing", "shaped")} == {0o700}


WRONG_SNAPSHOTS = {
    "empty": ({"empty": True}, "0 % is below 70 %"),
    "half": ({"half": True}, "is below 70 %"),
    "rows of another endpoint": ({}, "rejected share 100 % is above 1 %"),
}
OTHER_ENDPOINT = {"tracks": "users", "users": "listen_history", "listen_history": "tracks"}


@pytest.mark.parametrize(
    ("wrong", "endpoints"),
    [
        *((wrong, names) for wrong in WRONG_SNAPSHOTS for names in (("tracks", "users"), ("listen_history",))),
        ("half", ("users",)),
    ],
    ids=str,
)
def test_suspicious_snapshot_is_blocked_and_changes_nothing(
    wrong: str, endpoints: tuple[str, ...], api: MockApi, query: Query, first_day: Tables
) -> None:
    fault, words = WRONG_SNAPSHOTS[wrong]
    api.set_faults(*({"endpoint": name} | (fault or {"wrong_endpoint": OTHER_ENDPOINT[name]}) for name in endpoints))

    assert main(["--day", NEXT_DAY]) == 1

    blocked = {*endpoints, "listen_history"}  # sessions depend on users and tracks
    expected = {name: "blocked" if name in blocked else "unchanged" for name in ENDPOINTS}
    assert {name: status for name, (_, status) in ledger(query, NEXT_DAY).items()} == expected
    assert warehouse_and_marts(database_state(query)) == warehouse_and_marts(first_day)
    for name in endpoints:
        reason = query("select reason from ops.batches where status = 'blocked' and endpoint = %s", name)[0][0]
        assert words in reason
        assert "expect_" not in reason
    assert_rows_add_up(query)
    if wrong != "half":
        return
    api.reset()

    assert main(["--day", NEXT_DAY]) == 0

    # Only the blocked endpoints are fetched again.
    assert ledger(query, NEXT_DAY) == {
        name: (f"{name}-{NEXT_DAY}" + ("-r2" if name in blocked else ""), "unchanged") for name in ENDPOINTS
    }
    assert {name for name, count in api.request_counts()["by_endpoint"].items() if count} == blocked
    assert warehouse_and_marts(database_state(query)) == warehouse_and_marts(first_day)


@dataclass
class NaiveWarehouse:
    """The expected warehouse, recomputed from complete snapshots in the simplest way."""

    rows: dict[str, dict[tuple[Any, ...], Row]] = field(default_factory=lambda: {name: {} for name in ENDPOINTS})
    removed: dict[str, dict[tuple[Any, ...], datetime]] = field(
        default_factory=lambda: {name: {} for name in ENDPOINTS}
    )
    change_counts: Counter[str] = field(default_factory=Counter)

    def merge(self, endpoint: str, snapshot: list[Row], day: str) -> tuple[int, int, int]:
        """Merge the snapshot of a day. Returns the numbers of inserted, updated and removed rows."""
        current = {tuple(row[name] for name in KEYS[endpoint]): row for row in snapshot}
        stored, removed = self.rows[endpoint], self.removed[endpoint]
        new = current.keys() - stored.keys()
        restored = current.keys() & removed.keys()
        changed = {key for key in current.keys() & stored.keys() if current[key] != stored[key]}
        missing = stored.keys() - current.keys() - removed.keys()
        if endpoint == "listen_history":
            self.change_counts["plays replaced"] += sum(
                stored[key]["items"] != current[key]["items"] for key in changed
            )
        self.change_counts.update(
            {"inserted": len(new), "updated": len(changed), "restored": len(restored), "removed": len(missing)}
        )
        stored.update(current)
        for key in restored:
            del removed[key]
        removed.update(dict.fromkeys(missing, parse_time(day)))
        return len(new), len(changed | restored), len(missing)

    def plays(self) -> list[tuple[Any, ...]]:
        return sorted(
            (user, parse_time(created), position, track)
            for (user, created), row in self.rows["listen_history"].items()
            if (user, created) not in self.removed["listen_history"]
            for position, track in enumerate(row["items"] or [], 1)
        )


def parse_time(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def assert_equal(query: Query, naive: NaiveWarehouse) -> None:
    """Compare warehouse and marts with the expected rows, column by column."""
    for endpoint in ("tracks", "users"):
        columns = [name for name in next(iter(naive.rows[endpoint].values())) if not name.endswith("_at")]
        expected = sorted(
            (
                *(row[name] for name in columns),
                parse_time(row["created_at"]),
                parse_time(row["updated_at"]),
                naive.removed[endpoint].get(key),
            )
            for key, row in naive.rows[endpoint].items()
        )
        selected = ", ".join((*columns, "created_at", "updated_at", "removed_at"))
        assert query(f"select {selected} from warehouse.{endpoint} order by id") == expected
    sessions = sorted(
        (user, parse_time(created), parse_time(row["updated_at"]), naive.removed["listen_history"].get((user, created)))
        for (user, created), row in naive.rows["listen_history"].items()
    )
    stored = "select user_id, created_at, updated_at, removed_at from warehouse.listen_history order by 1, 2"
    assert query(stored) == sessions
    plays = naive.plays()
    facts = "select user_id, listened_at, position, track_id from mart.fact_listens order by 1, 2, 3"
    assert query(facts) == plays
    times: dict[tuple[int, int], list[datetime]] = {}
    for user, created, _, track in plays:
        times.setdefault((user, track), []).append(created)
    play_counts = sorted((user, track, len(t), min(t), max(t)) for (user, track), t in times.items())
    pairs = "select user_id, track_id, plays, first_played_at, last_played_at from mart.user_track_plays order by 1, 2"
    assert query(pairs) == play_counts
    seconds = "select count(*) from warehouse.tracks where duration_seconds"
    assert query(f"{seconds} <> split_part(duration, ':', 1)::int * 60 + split_part(duration, ':', 2)::int") == [(0,)]


def test_merges_of_many_days_equal_a_naive_recomputation(api: MockApi, query: Query) -> None:
    naive = NaiveWarehouse()
    for endpoint in ENDPOINTS:
        naive.merge(endpoint, api.rows(endpoint), DAY)
    ids = dict(query("select (user_id, created_at)::text, id from warehouse.listen_history"))
    # On the third and fifth day the source goes back in time: new rows disappear and removed rows return.
    for day, source_day in (
        ("2026-11-21", "2026-11-21"),
        ("2026-12-05", "2026-12-05"),
        ("2026-12-06", "2026-11-24"),
        ("2026-12-21", "2026-12-20"),
        ("2026-12-31", "2026-12-03"),
        ("2027-01-01", "2027-01-01"),
    ):
        api.set_day(source_day)
        expected = {endpoint: naive.merge(endpoint, api.rows(endpoint), day) for endpoint in ENDPOINTS}

        assert main(["--day", day]) == 0

        counts = query(
            "select endpoint, rows_inserted, rows_updated, rows_removed from ops.batches where day = %s", day
        )
        assert {endpoint: tuple(numbers) for endpoint, *numbers in counts} == expected
        assert_equal(query, naive)
        assert_rows_add_up(query)
    ids_at_end = dict(query("select (user_id, created_at)::text, id from warehouse.listen_history"))
    assert ids.items() <= ids_at_end.items()
    assert len(set(ids_at_end.values())) == len(ids_at_end)
    assert all(
        naive.change_counts[name] > 0 for name in ("inserted", "updated", "removed", "restored", "plays replaced")
    ), naive.change_counts


def test_repeated_ingest_of_a_day_requests_and_changes_nothing(api: MockApi, query: Query, first_day: Tables) -> None:
    api.reset()

    assert main(["--day", DAY]) == 0

    assert api.request_counts()["total"] == 0
    assert database_state(query) == first_day


def test_refresh_fetches_a_new_revision(api: MockApi, query: Query, first_day: Tables) -> None:
    api.reset()

    assert main(["--day", DAY, "--refresh"]) == 0

    assert all(count > 0 for count in api.request_counts()["by_endpoint"].values())
    assert ledger(query, DAY) == {name: (f"{name}-{DAY}-r2", "unchanged") for name in ENDPOINTS}
    assert warehouse_and_marts(database_state(query)) == warehouse_and_marts(first_day)


def test_day_without_changes_is_unchanged(query: Query, first_day: Tables) -> None:
    assert main(["--day", NEXT_DAY]) == 0

    assert ledger(query, NEXT_DAY) == {name: (f"{name}-{NEXT_DAY}", "unchanged") for name in ENDPOINTS}
    assert warehouse_and_marts(database_state(query)) == warehouse_and_marts(first_day)
    assert query(
        "select distinct rows_staged, rows_unchanged = rows_landed from ops.batches where day = %s", NEXT_DAY
    ) == [(0, True)]


@pytest.mark.parametrize("day", ["0001-01-01", "1969-12-31", "2199-12-31"])
def test_remote_days_are_ingested(day: str, query: Query, first_day: Tables) -> None:
    assert main(["--day", day]) == 0

    assert {status for _, status in ledger(query, day).values()} == {"unchanged"}
    assert warehouse_and_marts(database_state(query)) == warehouse_and_marts(first_day)


def test_day_too_far_in_the_future_is_refused(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["--day", "9999-12-31"]) == 2

    output = capfd.readouterr()
    assert output.err.splitlines()[-1] == "error: 9999-12-31 is too far in the future for a batch"
    assert "Traceback" not in output.out + output.err


def files_with(folder: Path, text: str) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and text.encode() in path.read_bytes()]


def assert_not_exposed(secret: str, query: Query, data_dir: Path, output: Any) -> None:
    """Assert that the secret is not in the output, in files, in Prefect's files or in the database."""
    from prefect.settings import PREFECT_API_DATABASE_CONNECTION_URL, PREFECT_HOME

    assert secret not in output.out + output.err
    assert files_with(data_dir, secret) == []
    assert files_with(Path(str(PREFECT_HOME.value())), secret) == []
    prefect_database = Path(str(PREFECT_API_DATABASE_CONNECTION_URL.value()).partition("///")[2])
    assert prefect_database.is_file()
    assert files_with(prefect_database.parent, secret) == []
    assert secret not in repr(database_state(query)) + repr(query("select * from ops.runs"))


def test_token_is_sent_only_to_the_source_and_not_exposed(
    query: Query, environment: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    token = "t0ken-that-must-stay-secret"
    sizes = ("--users", str(USERS), "--tracks", str(TRACKS), "--sessions", str(SESSIONS))
    protected = start_mock_api(*sizes, "--token", token)
    try:
        monkeypatch.setenv("MOOVITAMIX_API_URL", protected.url)
        assert main(["--day", NEXT_DAY, "--endpoint", "tracks"]) == 1
        assert (
            "answered 401; set MOOVITAMIX_API_TOKEN"
            in query("select reason from ops.batches where status = 'failed'")[0][0]
        )
        monkeypatch.setenv("MOOVITAMIX_API_TOKEN", token + "-but-wrong")
        assert main(["--day", NEXT_DAY, "--endpoint", "tracks"]) == 1
        assert "answered 403; the token" in query("select reason from ops.batches where status = 'failed'")[0][0]
        monkeypatch.setenv("MOOVITAMIX_API_TOKEN", token)
        protected.set_faults({"endpoint": "users", "status": 500})
        assert main(["--day", NEXT_DAY]) == 1
        assert ledger(query, NEXT_DAY)["tracks"][1] == "unchanged"
    finally:
        protected.process.terminate()
        protected.process.communicate(timeout=60)
    assert_not_exposed(token, query, environment, capfd.readouterr())


def test_password_in_the_url_is_not_exposed(
    api: MockApi, query: Query, environment: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MOOVITAMIX_API_URL", api.url.replace("http://", "http://user:pa55w0rd@"))
    api.set_faults({"endpoint": "users", "reset_share": 1})

    assert main(["--day", NEXT_DAY]) == 1

    assert ledger(query, NEXT_DAY)["tracks"][1] == "unchanged"
    assert query("select distinct source from ops.batches where day = %s", NEXT_DAY) == [(api.url,)]
    assert_not_exposed("pa55w0rd", query, environment, capfd.readouterr())


WRONG_SETTINGS = {
    "PAGE_SIZE": ["0", "101", "many"],
    "FETCH_THREADS": ["0"],
    "FETCH_TRIES": ["-1"],
    "READ_TIMEOUT_SECONDS": ["0", "nan", "inf"],
    "MOOVITAMIX_API_URL": ["ftp://example.org", "example.org", "http://", "http://[::1"],
    "DATABASE_URL": ["mysql://localhost/x", "nonsense"],
    "DATA_DIR": ["/proc/no/such/folder"],
    "THRESHOLD_MAX_REJECTED_SHARE": ["1.5", "a little"],
}


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in WRONG_SETTINGS.items() for value in values]
)
def test_wrong_setting_gives_one_error_line(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(name, value)

    assert main(["--day", DAY]) == 2

    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith("error: wrong ")
    assert err.count("\n") == 1
    assert name in err


def test_wrong_settings_give_one_error_line_in_a_process() -> None:
    environment = os.environ | {"PAGE_SIZE": "1000", "MOOVITAMIX_API_URL": "nowhere"}
    command = [sys.executable, "-m", "flows.ingest"]
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)

    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.count("\n") == 1
    assert "PAGE_SIZE" in result.stderr
    assert "MOOVITAMIX_API_URL" in result.stderr
