"""Cases that could lose, duplicate or resurrect a row, and rows that could stop a run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from flows import ingest, ingest_tasks, replay
from tests.conftest import Query
from tests.database_state import assert_rows_add_up, database_state
from tests.source_stub import SourceStub, serve_source, session, track, user

DAY, NEXT_DAY, THIRD_DAY = "2026-11-20", "2026-11-21", "2026-11-22"


@pytest.fixture
def source(prefect_server: None, environment: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SourceStub]:
    """A source with 1,000 tracks and two users, read by one thread in pages of 100."""
    rows = SourceStub(
        [track(number) for number in range(1, 1001)], [user(1), user(2)], [session(1, [1, 2]), session(2, [3])]
    )
    with serve_source(rows) as stub:
        for name, value in {"MOOVITAMIX_API_URL": stub.url, "PAGE_SIZE": "100", "FETCH_THREADS": "1"}.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("FETCH_TRIES", "2")
        monkeypatch.setattr(ingest_tasks.land_pages, "retries", 0)
        yield stub


def run(day: str, *arguments: str) -> int:
    return ingest.main(["--day", day, *arguments])


def track_ids(query: Query) -> set[int]:
    return {row[0] for row in query("select id from warehouse.tracks where removed_at is null")}


def replace_track(source: SourceStub) -> None:
    """Remove a row of page 2 and append another row, so that the total stays the same."""
    source.tracks = [row for row in source.tracks if row["id"] != 150] + [track(5000)]


def test_row_that_moves_to_a_read_page_is_not_lost(source: SourceStub, query: Query) -> None:
    source.before_request = lambda number: replace_track(source) if number == 7 else None
    assert run(DAY, "--endpoint", "tracks") == 0
    assert track_ids(query) == {row["id"] for row in source.tracks}


def test_stored_pages_of_a_changed_snapshot_are_not_reused(source: SourceStub, query: Query) -> None:
    source.failing_pages = {("tracks", 8)}
    assert run(DAY, "--endpoint", "tracks") == 1
    source.failing_pages = set()
    replace_track(source)
    assert run(DAY, "--endpoint", "tracks") == 0
    assert track_ids(query) == {row["id"] for row in source.tracks}


def test_pages_older_than_a_published_snapshot_are_fetched_again(
    source: SourceStub, query: Query, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("DATABASE_URL", "postgresql://postgres@127.0.0.1:1/nowhere")
        assert run(DAY, "--endpoint", "tracks") == 1  # the pages are landed without a database
    source.tracks += [track(number) for number in range(2001, 2101)]
    assert run(NEXT_DAY, "--endpoint", "tracks") == 0

    assert run(DAY, "--endpoint", "tracks") == 0

    assert track_ids(query) == {row["id"] for row in source.tracks}
    statuses = query("select batch_id, status, reason like '%%is older than%%' from ops.batches order by batch_id")
    assert statuses == [
        (f"tracks-{DAY}", "failed", True),
        (f"tracks-{DAY}-r2", "unchanged", None),
        (f"tracks-{NEXT_DAY}", "published", None),
    ]
    assert_rows_add_up(query)


def test_batch_read_before_a_published_batch_is_not_replayed(
    source: SourceStub, query: Query, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    all_tracks = source.tracks
    assert run(DAY, "--endpoint", "tracks") == 0
    source.tracks = all_tracks[:300]
    assert run(NEXT_DAY, "--endpoint", "tracks") == 1
    source.tracks = [row | {"album": "new"} for row in all_tracks]
    assert run(DAY, "--endpoint", "tracks", "--refresh") == 0
    monkeypatch.setenv("THRESHOLD_MIN_SHARE_OF_PUBLISHED", "0.1")
    state = database_state(query)

    assert replay.main([f"tracks-{NEXT_DAY}"]) == 1

    assert f"tracks-{DAY}-r2 is newer and published" in capsys.readouterr().err
    assert database_state(query) == state


def test_batch_of_a_future_day_does_not_prevent_replays(
    source: SourceStub, query: Query, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("2099-01-01", "--endpoint", "tracks") == 0
    source.tracks = source.tracks[:300]
    assert run(DAY, "--endpoint", "tracks") == 1
    monkeypatch.setenv("THRESHOLD_MIN_SHARE_OF_PUBLISHED", "0.1")
    assert replay.main([f"tracks-{DAY}"]) == 0
    assert len(track_ids(query)) == 300


def test_plays_added_to_published_sessions_are_counted(source: SourceStub, query: Query) -> None:
    source.listen_history = [session(1, None), session(2, None)]
    assert run(DAY) == 0
    source.listen_history = [session(1, [1, 1, 2]), session(2, [3])]
    assert run(NEXT_DAY) == 0
    assert query("select user_id, track_id, plays from mart.user_track_plays order by 1, 2") == [
        (1, 1, 2),
        (1, 2, 1),
        (2, 3, 1),
    ]
    assert_rows_add_up(query)


def test_removed_sessions_that_return_are_counted(
    source: SourceStub, query: Query, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THRESHOLD_MIN_SHARE_OF_PUBLISHED", "0")
    sessions = source.listen_history
    assert run(DAY) == 0
    play_counts = query("select * from mart.user_track_plays order by 1, 2")
    source.listen_history = [session(1, [9], created_at="2026-11-02T00:00:00")]
    assert run(NEXT_DAY) == 0
    assert query("select user_id, track_id, plays from mart.user_track_plays") == [(1, 9, 1)]
    source.listen_history = sessions
    assert run(THIRD_DAY) == 0
    assert query("select * from mart.user_track_plays order by 1, 2") == play_counts
    assert_rows_add_up(query)


@pytest.mark.parametrize("name", ["new-field", "class", "", "a\x00b", "ü" * 500, "unknown_0", "__slots__"])
def test_unknown_field_can_have_any_name(name: str, source: SourceStub, query: Query) -> None:
    source.tracks = [row | {name: 1} for row in source.tracks[:250]]
    assert run(DAY, "--endpoint", "tracks") == 0
    ((fields,),) = query("select unknown_fields from ops.batches")
    assert list(fields.values()) == [250]
    assert all(len(field) <= 60 for field in fields)


def test_number_of_reported_unknown_fields_is_limited(source: SourceStub, query: Query) -> None:
    source.tracks = [row | {f"field {row['id']} {i}": 1 for i in range(3)} for row in source.tracks[:250]]
    assert run(DAY, "--endpoint", "tracks") == 0
    ((fields,),) = query("select unknown_fields from ops.batches")
    assert len(fields) == 51
    assert sum(fields.values()) == 750


def test_duration_with_digits_of_other_scripts_is_rejected(source: SourceStub, query: Query) -> None:
    source.tracks[0]["duration"] = "12:3\u0664"
    assert run(DAY, "--endpoint", "tracks") == 0
    assert query("select reason from ops.rejected_rows") == [("duration: not of the form MM:SS",)]


@pytest.mark.parametrize("malformed_id", ["7", 7.0])
def test_row_with_a_malformed_id_is_not_marked_as_removed(
    malformed_id: object, source: SourceStub, query: Query
) -> None:
    assert run(DAY, "--endpoint", "tracks") == 0
    source.tracks = [row | {"id": malformed_id} if row["id"] == 7 else row for row in source.tracks]
    assert run(NEXT_DAY, "--endpoint", "tracks") == 0
    assert 7 in track_ids(query)


def test_failed_transformation_does_not_stop_other_endpoints(
    source: SourceStub, query: Query, environment: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (environment / "shaped" / f"tracks-{DAY}").parent.mkdir(parents=True)
    (environment / "shaped" / f"tracks-{DAY}").symlink_to("/dev/null/not-a-folder")
    assert run(DAY, "--endpoint", "tracks", "--endpoint", "users") == 1
    statuses = dict(query("select endpoint, status from ops.batches"))
    assert statuses == {"tracks": "failed", "users": "published"}
    out, err = capfd.readouterr()
    assert "working files cannot be written" in out + err
    assert "Traceback" not in out + err


def test_unexpected_error_fails_only_its_endpoint_and_exposes_no_row(
    source: SourceStub, query: Query, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ValueError("Ada Lovelace <ada1@example.com>")

    monkeypatch.setattr("pipeline.transformation._row_hash", fail)
    assert run(DAY, "--endpoint", "tracks") == 1
    out, err = capfd.readouterr()
    assert "unexpected ValueError at " in err
    assert "ada1@example.com" not in out + err
    assert "Traceback" not in out + err
    assert query("select status from ops.batches") == [("failed",)]


def test_refresh_replaces_damaged_raw_pages(
    source: SourceStub, query: Query, environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("DATABASE_URL", "postgresql://postgres@127.0.0.1:1/nowhere")
        assert run(DAY, "--endpoint", "tracks") == 1
    next((environment / "landing" / "tracks" / f"tracks-{DAY}").glob("pages-*")).write_bytes(b"damaged")
    assert run(DAY, "--endpoint", "tracks") == 1
    assert "--refresh" in query("select reason from ops.batches")[0][0]
    assert run(DAY, "--endpoint", "tracks", "--refresh") == 0
    assert len(track_ids(query)) == 1000
    assert_rows_add_up(query)


def test_run_that_lost_its_lock_publishes_nothing(
    source: SourceStub, query: Query, database: str, capfd: pytest.CaptureFixture[str]
) -> None:
    def end_lock_session(number: int) -> None:
        if number == 5:
            with psycopg.connect(database, autocommit=True) as connection:
                connection.execute(
                    "select pg_terminate_backend(pid) from pg_locks"
                    " where locktype = 'advisory' and pid <> pg_backend_pid()"
                )

    source.before_request = end_lock_session
    assert run(DAY) == 1
    assert query("select count(*) from warehouse.tracks") == [(0,)]
    assert "Traceback" not in "".join(capfd.readouterr())
    source.before_request = lambda _: None
    assert run(DAY) == 0
    assert len(track_ids(query)) == 1000


def test_failed_run_against_another_source_keeps_published_raw_pages(
    source: SourceStub, query: Query, environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(DAY, "--endpoint", "tracks") == 0
    folder = environment / "landing" / "tracks" / f"tracks-{DAY}"
    pages = {path.name: path.read_bytes() for path in folder.glob("pages-*")}
    with serve_source(SourceStub(source.tracks[:900], [user(1)], [])) as other_source, monkeypatch.context() as patch:
        patch.setenv("MOOVITAMIX_API_URL", other_source.url)
        patch.setenv("DATABASE_URL", "postgresql://postgres@127.0.0.1:1/nowhere")
        assert run(DAY, "--endpoint", "tracks") == 1
    assert {path.name: path.read_bytes() for path in folder.glob("pages-*")} == pages
