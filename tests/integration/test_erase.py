"""Erasure of a user: no trace remains, not even in malformed rows, and later snapshots do not bring the user back."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
import zstandard
from prefect.artifacts import Artifact
from psycopg import sql

from core import embedded_postgres
from core.database import connect, take_training_lock, take_warehouse_lock
from core.errors import LandingError
from core.file_store import FileStore, FolderStore
from erasure.suppression_list import read_copy
from flows import erase, ingest, recommend, replay
from services import backup
from tests.conftest import ROOT, Query, temporary_database, url_of_database, with_time
from tests.database_state import assert_rows_add_up, database_state
from tests.ingest_runs import open_query
from tests.object_stores import Bucket
from tests.publications import quick_candidates, quick_settings
from tests.source_stub import Row, SourceStub, serve_source, session, track, user

ERASED_ID = 7_300_811_022_334_455_667
EMAIL, OLD_EMAIL = "zelda.quux@unmistakable.example", "zelda.before@unmistakable.example"
NAMES = {"first_name": "Zeldaquuxa", "last_name": "Wobblethorpe"}
TRACES = (str(ERASED_ID), "zelda.", "Zeldaquuxa", "Wobblethorpe")
REQUEST = ["--reason", "request of the user", "--requested-by", "ticket 12"]
DAY, NEXT_DAY, THIRD_DAY = "2026-11-20", "2026-11-21", "2026-11-22"
LATER = "2026-10-05T00:00:00"
UNKNOWN_TRACK = 999


def erased_user(**fields: Any) -> Row:
    return user(ERASED_ID, email=EMAIL, gender="Zorg", **NAMES) | fields


def users() -> list[Row]:
    """Twelve other users and the user to erase, who also occurs in malformed rows of every form."""
    malformed = [
        erased_user(id=str(ERASED_ID)),
        erased_user(id=None),
        erased_user(id=[ERASED_ID]),
        erased_user(created_at="yesterday"),
        erased_user(id=None, email="", first_name="ZELDAQUUXA", last_name="wobblethorpe"),
        [ERASED_ID, "Zeldaquuxa"],
        f"Zeldaquuxa Wobblethorpe, {ERASED_ID}",
    ]
    other_users = [user(number) for number in range(1, 13)]
    return [*other_users[:6], erased_user(), *malformed, user(14, created_at="tomorrow"), *other_users[6:]]  # type: ignore[list-item]


def sessions() -> list[Row]:
    erased_sessions = [
        session(ERASED_ID, [1, 2, 2, 3]),
        session(ERASED_ID, [4, UNKNOWN_TRACK, 5], created_at=LATER),
        session(ERASED_ID, [], created_at="2026-11-02T00:00:00"),
        session(ERASED_ID, [1, "x", 6], created_at="2026-11-03T00:00:00"),  # type: ignore[list-item]
        session(ERASED_ID, [1], created_at="never"),
        session(str(ERASED_ID), [2]),  # type: ignore[arg-type]
    ]
    other_sessions = [session(number, [number, number + 1, 20 - number]) for number in range(1, 13)]
    return [*other_sessions[:5], *erased_sessions[:3], *other_sessions[5:], *erased_sessions[3:]]


@dataclass(frozen=True)
class TracedDatabase:
    """A database and a data folder with many traces of the user to erase."""

    database: str
    data_dir: Path
    source: SourceStub
    query: Query

    def traces(self) -> list[str]:
        """Places with a trace: lines of a database dump, and files after decompression."""
        dump = subprocess.run(
            [str(embedded_postgres.programs_folder() / "pg_dump"), f"--dbname={self.database}"],
            check=True,
            capture_output=True,
        ).stdout
        places = [f"dump: {line[:200]}" for line in dump.decode().splitlines() if has_trace(line)]
        for path in self.data_dir.rglob("*"):
            if path.is_file():
                content = path.read_bytes()
                if path.suffix == ".zst":
                    content = zstandard.ZstdDecompressor().decompress(content)
                places += [str(path.relative_to(self.data_dir))] if has_trace(content.decode(errors="replace")) else []
        return places


def has_trace(text: str) -> bool:
    return any(trace.casefold() in text.casefold() for trace in TRACES)


def settings(database: str, data_dir: Path, source: SourceStub) -> dict[str, str]:
    return quick_settings(database, data_dir) | {
        "MOOVITAMIX_API_URL": source.url,
        "PAGE_SIZE": "5",
        "GIVE_UP_AFTER_SECONDS": "3",
        "THRESHOLD_MAX_REJECTED_SHARE": "0.9",
        "THRESHOLD_MAX_REJECTED_PLAYS_SHARE": "0.9",
        "THRESHOLD_MIN_COVERAGE": "0",
    }


@pytest.fixture(scope="module")
def _template_data(
    postgres: str, _template: str, prefect_server: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, Path, SourceStub]]:
    """Two ingests, the second one blocked; two publications; and leftovers of killed runs."""
    name, data_dir = "erase_world", tmp_path_factory.mktemp("erase") / "data"
    source = SourceStub([track(number) for number in range(1, 21)], users(), sessions())
    with psycopg.connect(postgres, autocommit=True) as connection:
        names = sql.Identifier(name), sql.Identifier(_template)
        connection.execute(sql.SQL("create database {} template {}").format(*names))
    database = url_of_database(postgres, name)
    with serve_source(source), pytest.MonkeyPatch.context() as patch, quick_candidates():
        for variable in [name for name in os.environ if name.startswith(("THRESHOLD_", "MOOVITAMIX_"))]:
            patch.delenv(variable)
        for variable, value in settings(database, data_dir, source).items():
            patch.setenv(variable, value)
        source.users = [erased_user(email=OLD_EMAIL) if row == erased_user() else row for row in users()]
        assert ingest.main(["--day", DAY]) == 0
        source.users = [*users(), erased_user(id=None, email=OLD_EMAIL, first_name="", last_name="")]
        patch.setenv("THRESHOLD_MAX_REJECTED_SHARE", "0.001")
        assert ingest.main(["--day", NEXT_DAY]) == 1
        assert recommend.main([]) == recommend.main([]) == 0
        _add_feedback_and_leftovers(database, data_dir)
        with psycopg.connect(postgres, autocommit=True) as connection:
            connection.execute("select pg_terminate_backend(pid) from pg_stat_activity where datname = %s", [name])
        yield name, data_dir, source
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))


def _add_feedback_and_leftovers(database: str, data_dir: Path) -> None:
    """Add feedback, and leftovers of killed runs and of a blocked publication."""
    with connect(database) as connection:
        connection.execute("insert into serving.api_keys values ('k', 'app', '', '{}', '2024-05-01')")
        connection.execute(
            "insert into ml.feedback values (%s, 1, 1, true, 'k', '2024-05-01', '2024-05-01')", [ERASED_ID]
        )
        for table in ("ml.recommendations_99", "staging.recommendations_98"):
            connection.execute(f"create table {table} as select * from ml.recommendations")  # type: ignore[arg-type]
    for name in (
        "shaped/users-2026-11-21/part",
        "data_docs/runs/.tmp-1",
        "landing/users/users-2026-11-20/.pages-1.part",
    ):
        path = data_dir / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{ERASED_ID} {EMAIL}")


@pytest.fixture
def place(
    postgres: str, _template_data: tuple[str, Path, SourceStub], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[TracedDatabase]:
    name, template_dir, source = _template_data
    data_dir = tmp_path / "data"
    shutil.copytree(template_dir, data_dir)
    source.users, source.listen_history = users(), sessions()
    source.before_request = lambda _: None
    with temporary_database(postgres, name) as database, open_query(database) as query, quick_candidates():
        for variable, value in settings(database, data_dir, source).items():
            monkeypatch.setenv(variable, value)
        yield TracedDatabase(database, data_dir, source, query)


def erasure_records(place: TracedDatabase) -> list[tuple[Any, ...]]:
    return place.query(
        "select kind, reason, requested_by, finished_at is not null, found from ops.erasures order by erasure_id"
    )


FOUND_COUNTS = {
    "raw page files": 9,
    "raw rows": 29,
    "Data Docs pages": 4,
    "staging": 27,
    "warehouse.users": 1,
    "warehouse.listen_history": 4,
    "warehouse.listen_history_tracks": 8,
    "mart.user_days": 4,
    "mart.user_track_plays": 6,
    "ml.feedback": 1,
    "ml.recommendations": 20,
    "ml.recommendations_99": 20,
    "ops.rejected_rows": 22,
    "ops.quarantined_rows": 6,
}
NO_COUNTS = {"raw page files": 0, "raw rows": 0, "Data Docs pages": 0}


def test_erasure_removes_every_trace_of_the_user(place: TracedDatabase, capsys: pytest.CaptureFixture[str]) -> None:
    assert len(place.traces()) > 20
    user_count = place.query("select count(*) from warehouse.users")[0][0]

    assert erase.main([str(ERASED_ID), *REQUEST]) == 0

    assert place.traces() == []
    assert place.query("select count(*) from warehouse.users") == [(user_count - 1,)]
    assert not has_trace("".join(capsys.readouterr()))
    assert erasure_records(place) == [("erased", "request of the user", "ticket 12", True, FOUND_COUNTS)]
    assert_rows_add_up(place.query)
    copy = place.data_dir / "backups" / "erased.json"
    assert (copy.stat().st_mode | copy.parent.stat().st_mode) & 0o077 == 0

    assert erase.main([str(ERASED_ID), *REQUEST]) == 0  # a second erasure finds nothing
    assert "nothing was found" in capsys.readouterr().out
    assert [counts for *_, counts in erasure_records(place)] == [FOUND_COUNTS, NO_COUNTS]


def batch_counts(place: TracedDatabase, batch_id: str) -> tuple[Any, ...]:
    return place.query("select status, rows_landed, rows_erased from ops.batches where batch_id = %s", batch_id)[0]


def test_rows_of_an_erased_user_stay_out_until_the_user_is_allowed_again(
    place: TracedDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert erase.main([str(ERASED_ID), *REQUEST]) == 0
    # Rows with neither the id nor the e-mail are not matched, because names are not stored.
    place.source.users = [row for row in users() if isinstance(row, dict) and row["email"]]

    assert replay.main([f"users-{NEXT_DAY}"]) == 0  # its pages are rewritten
    assert replay.main([f"listen_history-{NEXT_DAY}"]) == 0
    assert ingest.main(["--day", THIRD_DAY]) == 0

    assert batch_counts(place, f"users-{NEXT_DAY}") == ("unchanged", 22, 9)
    assert batch_counts(place, f"users-{THIRD_DAY}") == ("unchanged", 18, 5)
    assert batch_counts(place, f"listen_history-{THIRD_DAY}") == ("unchanged", 18, 6)
    assert place.traces() == []
    assert_rows_add_up(place.query)

    assert erase.main([str(ERASED_ID), "--reason", "joined again", "--requested-by", "ticket 13", "--allow-again"]) == 0
    assert ingest.main(["--day", "2026-11-23"]) == 0
    assert place.query("select email from warehouse.users where id = %s", ERASED_ID) == [(EMAIL,)]
    assert [(kind, by) for kind, _, by, *_ in erasure_records(place)] == [
        ("erased", "ticket 12"),
        ("allowed", "ticket 13"),
    ]
    assert_rows_add_up(place.query)


def test_rows_of_an_erased_user_stay_out_without_a_database(
    place: TracedDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert erase.main([str(ERASED_ID), *REQUEST]) == 0
    place.source.users = [user(1), erased_user()]
    with monkeypatch.context() as patch:
        patch.setenv("DATABASE_URL", "postgresql://nobody@127.0.0.1:1/none")
        assert ingest.main(["--day", THIRD_DAY, "--endpoint", "users"]) == 1
    assert list(place.data_dir.glob(f"landing/users/users-{THIRD_DAY}/pages-*"))
    assert place.traces() == []


def run_and_kill(place: TracedDatabase, step: str, position: str, nth: int) -> None:
    """Run an erasure in a process that is killed at this step."""
    script = (
        "import os, signal; from tests.e2e.interrupted import interrupt; from flows import erase;"
        f"interrupt({step!r}, {position!r}, {nth}, lambda: os.kill(os.getpid(), signal.SIGKILL));"
        f"erase.main({[str(ERASED_ID), *REQUEST]!r})"
    )
    result = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert result.returncode == -signal.SIGKILL, result.stderr


@pytest.mark.parametrize("storage", ["folder", "object store"])
def test_erasure_completes_after_being_killed_twice(
    storage: str, place: TracedDatabase, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    if storage == "object store":
        bucket.set_environment(monkeypatch, "LANDING_URL", "BACKUPS_URL", "DATA_DOCS_URL")
        for name in ("landing", "backups", "data_docs"):
            for file in FolderStore(place.data_dir / name).files():
                bucket.store(name).write(file.name, (place.data_dir / name / file.name).read_bytes())
            shutil.rmtree(place.data_dir / name, ignore_errors=True)
    run_and_kill(place, "erasure.landed_pages:rewrite_file", "after", 2)
    run_and_kill(place, "erasure.steps:finish_erasure", "before", 1)  # within the transaction
    assert place.query("select count(*) from warehouse.users where id = %s", ERASED_ID) == [(1,)]
    assert [(finished, counts) for *_, finished, counts in erasure_records(place)] == [
        (False, {**NO_COUNTS, **_in_files(FOUND_COUNTS)})
    ]

    assert erase.main([str(ERASED_ID), *REQUEST]) == 0

    objects = FolderStore(place.data_dir / "objects")
    for file in bucket.store().files():
        objects.write(file.name, bucket.store().read(file.name))
    assert bool(objects.files()) == (storage == "object store")
    assert place.traces() == []
    assert erasure_records(place) == [("erased", "request of the user", "ticket 12", True, FOUND_COUNTS)]
    assert_rows_add_up(place.query)


def _in_files(counts: dict[str, int]) -> dict[str, int]:
    return {place: counts[place] for place in NO_COUNTS}


def test_erasure_deletes_damaged_raw_pages(
    place: TracedDatabase, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked, published = f"users-{NEXT_DAY}", f"listen_history-{DAY}"
    files = [next((place.data_dir / "landing").glob(f"*/{batch}/pages-*")) for batch in (blocked, published)]
    for file in files:
        file.write_bytes(file.read_bytes()[:-9])
    with monkeypatch.context() as patch:  # the suppression list has the id and the e-mail even if files cannot be read
        patch.setattr("erasure.landed_pages.read_pages", unreadable)
        assert erase.main([str(ERASED_ID), *REQUEST]) == 1
    suppression_list = read_copy(FolderStore(place.data_dir / "backups"))
    assert suppression_list.matching_ids([ERASED_ID]) == {ERASED_ID}
    assert suppression_list.matches_row_without_id("users", f'["{OLD_EMAIL}"]')
    assert all(file.exists() for file in files)

    assert erase.main([str(ERASED_ID), *REQUEST]) == 0

    assert place.traces() == []
    assert not any(file.parent.exists() for file in files)
    out = capsys.readouterr().out
    ((*_, finished, counts),) = erasure_records(place)
    assert finished
    for batch in (blocked, published):
        assert f"1 unreadable raw page files of {batch}" in out
        assert counts[f"unreadable raw page files of {batch}"] == 1
    assert replay.main([blocked]) == 1
    assert "are deleted (RETENTION_DAYS) or damaged" in capsys.readouterr().err
    assert read_copy(FolderStore(place.data_dir / "backups")).matches_row_without_id("users", f'["{EMAIL}"]')


def unreadable(_store: FileStore, name: str) -> list[bytes]:
    raise LandingError(f"raw pages cannot be read back from {name}: Permission denied")


@pytest.mark.parametrize(
    ("take_lock", "message"), [(take_training_lock, "training"), (take_warehouse_lock, "another run")]
)
def test_erasure_is_refused_during_another_run(
    take_lock: Callable[[Any, float], None], message: str, place: TracedDatabase, capsys: pytest.CaptureFixture[str]
) -> None:
    state = database_state(place.query)
    with connect(place.database) as connection:
        take_lock(connection, 0)
        assert erase.main([str(ERASED_ID), *REQUEST]) == 1
    assert message in capsys.readouterr().err
    assert database_state(place.query) == state
    assert erasure_records(place) == []


def test_unknown_user_is_added_to_the_suppression_list(
    place: TracedDatabase, capsys: pytest.CaptureFixture[str]
) -> None:
    assert erase.main(["4711", *REQUEST]) == 0
    assert "nothing was found" in capsys.readouterr().out
    assert [counts for *_, counts in erasure_records(place)] == [NO_COUNTS]
    place.source.users.append(user(4711))
    assert ingest.main(["--day", THIRD_DAY, "--endpoint", "users"]) == 0
    assert place.query("select count(*) from warehouse.users where id = 4711") == [(0,)]

    # Run the flow as `erase/erase-user` does. The Prefect artifact shows what was found but not the user id.
    assert erase.erase(user_id=4711, reason="request", requested_by="ticket 12") == NO_COUNTS
    artifact = Artifact.get("erase-found")
    assert artifact is not None
    assert "4711" not in str(artifact.data)


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([str(ERASED_ID), "--reason", " ", "--requested-by", "ticket 12"], "--reason must not be empty"),
        (
            [str(ERASED_ID), "--reason", "request", "--requested-by", "ada@example.com"],
            "must not contain an e-mail address",
        ),
        (
            [str(ERASED_ID), "--reason", "request", "--requested-by", "ada\uff20example.com"],
            "must not contain an e-mail address",
        ),
        (
            [str(ERASED_ID), "--reason", "ada%40example.com", "--requested-by", "ticket 12"],
            "must not contain an e-mail address",
        ),
        (["4711", "--reason", "of \uff14\uff17\uff11\uff11", "--requested-by", "t"], "must not contain the user's id"),
        (
            [str(ERASED_ID), "--reason", f"forget {ERASED_ID}", "--requested-by", "ticket 12"],
            "must not contain the user's id",
        ),
        (["-1", *REQUEST], "USER_ID must be"),
    ],
)
def test_arguments_with_personal_data_are_refused(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert erase.main(arguments) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("other_arguments", [[str(ERASED_ID)], ["--allow-again"], REQUEST])
def test_again_takes_no_other_argument(other_arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_info:
        erase.main(["--again", *other_arguments])
    assert exit_info.value.code == 2
    assert "--again" in capsys.readouterr().err


def test_restore_of_an_old_backup_erases_the_user_again(
    place: TracedDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{embedded_postgres.programs_folder()}{os.pathsep}{os.environ['PATH']}")
    shutil.rmtree(place.data_dir / "landing")  # the backup has no raw pages
    assert backup.main(["make", str(tmp_path / "before.tar")]) == 0
    assert erase.main([str(ERASED_ID), *REQUEST]) == 0
    _disconnect(place)

    assert backup.main(["restore", str(tmp_path / "before.tar"), "--force"]) == 0

    with open_query(place.database) as query:
        restored = replace(place, query=query)
        assert restored.traces() == []
        assert [(by, finished) for _, _, by, finished, _ in erasure_records(restored)] == [
            ("flows.erase --again", True)
        ]


@pytest.mark.parametrize(
    "streamed_row",
    [
        'stream.sessions (user_id, created_at, updated_at, items, received_at, topic, partition, "offset")'
        " values (%s, :now, :now, '{1}', :now, 'listens', 0, 1)",
        "ml.fresh_recommendations select min(publication_id), %s, '{1}', '{1}', 1, :now from ml.publications",
        "ml.fresh_recommendation_history (publication_id, user_id, track_ids, shown_from)"
        " select min(publication_id), %s, '{1}', :now from ml.publications",
        "stream.failed_recommendations select min(publication_id), %s, 1, 'too short', :now from ml.publications",
    ],
    ids=lambda row: row.split()[0],
)
def test_again_erases_a_user_with_only_streamed_rows(place: TracedDatabase, streamed_row: str) -> None:
    assert erase.main([str(ERASED_ID), *REQUEST]) == 0
    place.query(with_time(f"insert into {streamed_row} returning 1"), ERASED_ID)
    assert len(place.traces()) == 1

    assert erase.main(["--again"]) == 0

    assert place.traces() == []


def _disconnect(place: TracedDatabase) -> None:
    with psycopg.connect(place.database, autocommit=True) as connection:
        connection.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database()"
            " and pid <> pg_backend_pid()"
        )
