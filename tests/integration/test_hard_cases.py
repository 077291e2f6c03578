"""Cases in which a row could be lost, doubled or brought back unseen, and rows that could end a run."""

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
    """A source of 1,000 tracks and two users who play some, read by one thread in pages of 100."""
    lists = SourceStub(
        [track(number) for number in range(1, 1001)], [user(1), user(2)], [session(1, [1, 2]), session(2, [3])]
    )
    with serve_source(lists) as served:
        for name, value in {"MOOVITAMIX_API_URL": served.url, "PAGE_SIZE": "100", "FETCH_THREADS": "1"}.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("FETCH_TRIES", "2")
        monkeypatch.setattr(ingest_tasks.land_pages, "retries", 0)
        yield served


def run(day: str, *arguments: str) -> int:
    return ingest.main(["--day", day, *arguments])


def tracks(query: Query) -> set[int]:
    return {row[0] for row in query("select id from warehouse.tracks where removed_at is null")}


def swap_one(source: SourceStub) -> None:
    """A row goes from page 2 and another comes at the end: the total stays."""
    source.tracks = [row for row in source.tracks if row["id"] != 150] + [track(5000)]


def test_a_row_that_slides_behind_the_reader_is_not_lost(source: SourceStub, query: Query) -> None:
    source.before_request = lambda number: swap_one(source) if number == 7 else None
    assert run(DAY, "--endpoint", "tracks") == 0
    assert tracks(query) == {row["id"] for row in source.tracks}


def test_pages_kept_of_a_list_that_moved_since_are_not_mixed_in(source: SourceStub, query: Query) -> None:
    source.broken = {("tracks", 8)}
    assert run(DAY, "--endpoint", "tracks") == 1
    source.broken = set()
    swap_one(source)
    assert run(DAY, "--endpoint", "tracks") == 0
    assert tracks(query) == {row["id"] for row in source.tracks}


def test_pages_landed_before_a_newer_list_was_published_are_fetched_again(
    source: SourceStub, query: Query, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("DATABASE_URL", "postgresql://postgres@127.0.0.1:1/nowhere")
        assert run(DAY, "--endpoint", "tracks") == 1  # landed, but there is no database
    source.tracks += [track(number) for number in range(2001, 2101)]
    assert run(NEXT_DAY, "--endpoint", "tracks") == 0

    assert run(DAY, "--endpoint", "tracks") == 0

    assert tracks(query) == {row["id"] for row in source.tracks}
    ended = query("select batch_id, status, reason like '%%was read before%%' from ops.batches order by batch_id")
    assert ended == [
        (f"tracks-{DAY}", "failed", True),
        (f"tracks-{DAY}-r2", "unchanged", None),
        (f"tracks-{NEXT_DAY}", "published", None),
    ]
    assert_rows_add_up(query)


def test_a_later_day_that_was_read_earlier_is_not_replayed(
    source: SourceStub, query: Query, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    everything = source.tracks
    assert run(DAY, "--endpoint", "tracks") == 0
    source.tracks = everything[:300]
    assert run(NEXT_DAY, "--endpoint", "tracks") == 1
    source.tracks = [row | {"album": "new"} for row in everything]
    assert run(DAY, "--endpoint", "tracks", "--refresh") == 0
    monkeypatch.setenv("THRESHOLD_MIN_SHARE_OF_PUBLISHED", "0.1")
    before = database_state(query)

    assert replay.main([f"tracks-{NEXT_DAY}"]) == 1

    assert f"tracks-{DAY}-r2 is newer and published" in capsys.readouterr().err
    assert database_state(query) == before


def test_a_day_in_the_far_future_does_not_stand_in_the_way_of_replays(
    source: SourceStub, query: Query, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("2099-01-01", "--endpoint", "tracks") == 0
    source.tracks = source.tracks[:300]
    assert run(DAY, "--endpoint", "tracks") == 1
    monkeypatch.setenv("THRESHOLD_MIN_SHARE_OF_PUBLISHED", "0.1")
    assert replay.main([f"tracks-{DAY}"]) == 0
    assert len(tracks(query)) == 300


def test_plays_that_come_later_to_known_sessions_are_counted(source: SourceStub, query: Query) -> None:
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


def test_sessions_that_all_went_and_came_back_are_counted(
    source: SourceStub, query: Query, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THRESHOLD_MIN_SHARE_OF_PUBLISHED", "0")
    sessions = source.listen_history
    assert run(DAY) == 0
    before = query("select * from mart.user_track_plays order by 1, 2")
    source.listen_history = [session(1, [9], created_at="2026-11-02T00:00:00")]
    assert run(NEXT_DAY) == 0
    assert query("select user_id, track_id, plays from mart.user_track_plays") == [(1, 9, 1)]
    source.listen_history = sessions
    assert run(THIRD_DAY) == 0
    assert query("select * from mart.user_track_plays order by 1, 2") == before
    assert_rows_add_up(query)


@pytest.mark.parametrize("name", ["new-field", "class", "", "a\x00b", "ü" * 500, "unknown_0", "__slots__"])
def test_an_unknown_field_may_have_any_name(name: str, source: SourceStub, query: Query) -> None:
    source.tracks = [row | {name: 1} for row in source.tracks[:250]]
    assert run(DAY, "--endpoint", "tracks") == 0
    ((fields,),) = query("select unknown_fields from ops.batches")
    assert list(fields.values()) == [250]
    assert all(len(told) <= 60 for told in fields)


def test_hundreds_of_unknown_fields_are_counted_together(source: SourceStub, query: Query) -> None:
    source.tracks = [row | {f"field {row['id']} {i}": 1 for i in range(3)} for row in source.tracks[:250]]
    assert run(DAY, "--endpoint", "tracks") == 0
    ((fields,),) = query("select unknown_fields from ops.batches")
    assert len(fields) == 51
    assert sum(fields.values()) == 750


def test_digits_of_other_scripts_are_no_duration(source: SourceStub, query: Query) -> None:
    source.tracks[0]["duration"] = "12:3\u0664"
    assert run(DAY, "--endpoint", "tracks") == 0
    assert query("select reason from ops.rejected_rows") == [("duration: not of the form MM:SS",)]


@pytest.mark.parametrize("written", ["7", 7.0])
def test_a_row_whose_id_is_written_wrong_is_not_taken_for_removed(
    written: object, source: SourceStub, query: Query
) -> None:
    assert run(DAY, "--endpoint", "tracks") == 0
    source.tracks = [row | {"id": written} if row["id"] == 7 else row for row in source.tracks]
    assert run(NEXT_DAY, "--endpoint", "tracks") == 0
    assert 7 in tracks(query)


def test_an_endpoint_that_cannot_be_shaped_does_not_stop_the_others(
    source: SourceStub, query: Query, environment: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (environment / "shaped" / f"tracks-{DAY}").parent.mkdir(parents=True)
    (environment / "shaped" / f"tracks-{DAY}").symlink_to("/dev/null/not-a-folder")
    assert run(DAY, "--endpoint", "tracks", "--endpoint", "users") == 1
    ended = dict(query("select endpoint, status from ops.batches"))
    assert ended == {"tracks": "failed", "users": "published"}
    out, err = capfd.readouterr()
    assert "working files cannot be written" in out + err
    assert "Traceback" not in out + err


def test_a_defect_of_ours_fails_its_endpoint_only_and_quotes_no_row(
    source: SourceStub, query: Query, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ValueError("Ada Lovelace <ada1@example.com>")

    monkeypatch.setattr("pipeline.transformation._row_hash", broken)
    assert run(DAY, "--endpoint", "tracks") == 1
    out, err = capfd.readouterr()
    assert "unforeseen ValueError at " in err
    assert "ada1@example.com" not in out + err
    assert "Traceback" not in out + err
    assert query("select status from ops.batches") == [("failed",)]


def test_a_landing_that_was_damaged_is_mended_by_a_refresh(
    source: SourceStub, query: Query, environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("DATABASE_URL", "postgresql://postgres@127.0.0.1:1/nowhere")
        assert run(DAY, "--endpoint", "tracks") == 1
    next((environment / "landing" / "tracks" / f"tracks-{DAY}").glob("pages-*")).write_bytes(b"damaged")
    assert run(DAY, "--endpoint", "tracks") == 1
    assert "--refresh" in query("select reason from ops.batches")[0][0]
    assert run(DAY, "--endpoint", "tracks", "--refresh") == 0
    assert len(tracks(query)) == 1000
    assert_rows_add_up(query)


def test_nothing_is_written_after_the_lock_is_lost(
    source: SourceStub, query: Query, database: str, capfd: pytest.CaptureFixture[str]
) -> None:
    def cut(number: int) -> None:
        if number == 5:
            with psycopg.connect(database, autocommit=True) as connection:
                connection.execute(
                    "select pg_terminate_backend(pid) from pg_locks"
                    " where locktype = 'advisory' and pid <> pg_backend_pid()"
                )

    source.before_request = cut
    assert run(DAY) == 1
    assert query("select count(*) from warehouse.tracks") == [(0,)]
    assert "Traceback" not in "".join(capfd.readouterr())
    source.before_request = lambda _: None
    assert run(DAY) == 0
    assert len(tracks(query)) == 1000


def test_pages_of_a_published_list_outlive_a_run_against_another_source_without_a_database(
    source: SourceStub, query: Query, environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(DAY, "--endpoint", "tracks") == 0
    folder = environment / "landing" / "tracks" / f"tracks-{DAY}"
    before = {path.name: path.read_bytes() for path in folder.glob("pages-*")}
    with serve_source(SourceStub(source.tracks[:900], [user(1)], [])) as other, monkeypatch.context() as patch:
        patch.setenv("MOOVITAMIX_API_URL", other.url)
        patch.setenv("DATABASE_URL", "postgresql://postgres@127.0.0.1:1/nowhere")
        assert run(DAY, "--endpoint", "tracks") == 1
    assert {path.name: path.read_bytes() for path in folder.glob("pages-*")} == before
