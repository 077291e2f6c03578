"""A listener is erased: nowhere left, not even in what is malformed or half done, and not back with the next list."""

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
from erasure.suppression_list import read_copy
from flows import erase, ingest, recommend, replay
from services import backup
from tests.conftest import ROOT, Query, url_of_database
from tests.database_state import assert_rows_add_up, database_state
from tests.ingest_runs import open_query, temporary_database
from tests.publications import quick_candidates, quick_settings
from tests.source_stub import Row, SourceStub, serve_source, session, track, user

GHOST = 7_300_811_022_334_455_667
MAIL, OLD_MAIL = "zelda.quux@unmistakable.example", "zelda.before@unmistakable.example"
NAMES = {"first_name": "Zeldaquuxa", "last_name": "Wobblethorpe"}
TRACES = (str(GHOST), "zelda.", "Zeldaquuxa", "Wobblethorpe")
WHY = ["--reason", "asked to be forgotten", "--requested-by", "ticket 12"]
DAY, NEXT_DAY, THIRD_DAY = "2026-11-20", "2026-11-21", "2026-11-22"
LATER = "2026-10-05T00:00:00"
UNKNOWN_TRACK = 999


def ghost(**other: Any) -> Row:
    return user(GHOST, email=MAIL, gender="Zorg", **NAMES) | other


def users() -> list[Row]:
    """Twelve and the one, who also comes in every way that rows are broken."""
    malformed = [
        ghost(id=str(GHOST)),
        ghost(id=None),
        ghost(id=[GHOST]),
        ghost(created_at="yesterday"),
        ghost(id=None, email="", first_name="ZELDAQUUXA", last_name="wobblethorpe"),
        [GHOST, "Zeldaquuxa"],
        f"Zeldaquuxa Wobblethorpe, {GHOST}",
    ]
    others = [user(number) for number in range(1, 13)]
    return [*others[:6], ghost(), *malformed, user(14, created_at="tomorrow"), *others[6:]]  # type: ignore[list-item]


def sessions() -> list[Row]:
    mine = [
        session(GHOST, [1, 2, 2, 3]),
        session(GHOST, [4, UNKNOWN_TRACK, 5], created_at=LATER),
        session(GHOST, [], created_at="2026-11-02T00:00:00"),
        session(GHOST, [1, "x", 6], created_at="2026-11-03T00:00:00"),  # type: ignore[list-item]
        session(GHOST, [1], created_at="never"),
        session(str(GHOST), [2]),  # type: ignore[arg-type]
    ]
    others = [session(number, [number, number + 1, 20 - number]) for number in range(1, 13)]
    return [*others[:5], *mine[:3], *others[5:], *mine[3:]]


@dataclass(frozen=True)
class Place:
    """A database and a data folder that the listener is all over."""

    database: str
    data_dir: Path
    source: SourceStub
    query: Query

    def traces(self) -> list[str]:
        """Where something tells of them: in a dump of the whole database, or in a file, unpacked."""
        dump = subprocess.run(
            [str(embedded_postgres.programs_folder() / "pg_dump"), f"--dbname={self.database}"],
            check=True,
            capture_output=True,
        ).stdout
        found = [f"dump: {line[:200]}" for line in dump.decode().splitlines() if tells(line)]
        for path in self.data_dir.rglob("*"):
            if path.is_file():
                content = path.read_bytes()
                if path.suffix == ".zst":
                    content = zstandard.ZstdDecompressor().decompress(content)
                found += [str(path.relative_to(self.data_dir))] if tells(content.decode(errors="replace")) else []
        return found


def tells(text: str) -> bool:
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
def _world(
    postgres: str, _template: str, prefect_server: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, Path, SourceStub]]:
    """Two days, of which the second is blocked; two lists; and what killed runs leave."""
    name, data_dir = "erase_world", tmp_path_factory.mktemp("erase") / "data"
    source = SourceStub([track(number) for number in range(1, 21)], users(), sessions())
    with psycopg.connect(postgres, autocommit=True) as connection:
        names = sql.Identifier(name), sql.Identifier(_template)
        connection.execute(sql.SQL("create database {} template {}").format(*names))
    database = url_of_database(postgres, name)
    with serve_source(source), pytest.MonkeyPatch.context() as patch, quick_candidates():
        for variable in [one for one in os.environ if one.startswith(("THRESHOLD_", "MOOVITAMIX_"))]:
            patch.delenv(variable)
        for variable, value in settings(database, data_dir, source).items():
            patch.setenv(variable, value)
        source.users = [ghost(email=OLD_MAIL) if row == ghost() else row for row in users()]
        assert ingest.main(["--day", DAY]) == 0
        source.users = [*users(), ghost(id=None, email=OLD_MAIL, first_name="", last_name="")]
        patch.setenv("THRESHOLD_MAX_REJECTED_SHARE", "0.001")
        assert ingest.main(["--day", NEXT_DAY]) == 1
        assert recommend.main([]) == recommend.main([]) == 0
        _leave_behind(database, data_dir)
        with psycopg.connect(postgres, autocommit=True) as connection:
            connection.execute("select pg_terminate_backend(pid) from pg_stat_activity where datname = %s", [name])
        yield name, data_dir, source
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))


def _leave_behind(database: str, data_dir: Path) -> None:
    """What listeners said, and what was left by runs that were killed or whose list was blocked."""
    with connect(database) as connection:
        connection.execute("insert into serving.api_keys values ('k', 'app', '', '{}', '2024-05-01')")
        connection.execute("insert into ml.feedback values (%s, 1, 1, true, 'k', '2024-05-01', '2024-05-01')", [GHOST])
        for table in ("ml.recommendations_99", "staging.recommendations_98"):
            connection.execute(f"create table {table} as select * from ml.recommendations")  # type: ignore[arg-type]
    for name in (
        "shaped/users-2026-11-21/part",
        "data_docs/runs/.tmp-1",
        "landing/users/users-2026-11-20/.pages-1.part",
    ):
        path = data_dir / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{GHOST} {MAIL}")


@pytest.fixture
def place(
    postgres: str, _world: tuple[str, Path, SourceStub], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Place]:
    name, filled, source = _world
    data_dir = tmp_path / "data"
    shutil.copytree(filled, data_dir)
    source.users, source.listen_history = users(), sessions()
    source.before_request = lambda _: None
    with temporary_database(postgres, name) as database, open_query(database) as query, quick_candidates():
        for variable, value in settings(database, data_dir, source).items():
            monkeypatch.setenv(variable, value)
        yield Place(database, data_dir, source, query)


def record(place: Place) -> list[tuple[Any, ...]]:
    return place.query(
        "select kind, reason, requested_by, finished_at is not null, found from ops.erasures order by erasure_id"
    )


FOUND = {
    "raw page files": 9,
    "raw rows": 29,
    "Data Docs pages": 4,
    "staging": 27,
    "warehouse.users": 1,
    "warehouse.listen_history": 4,
    "warehouse.listen_history_tracks": 8,
    "mart.user_track_plays": 6,
    "ml.feedback": 1,
    "ml.recommendations": 20,
    "ml.recommendations_99": 20,
    "ops.rejected_rows": 22,
    "ops.quarantined_rows": 6,
}
NOTHING = {"raw page files": 0, "raw rows": 0, "Data Docs pages": 0}


def test_nothing_tells_of_a_listener_who_was_erased(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    assert len(place.traces()) > 20
    listeners = place.query("select count(*) from warehouse.users")[0][0]

    assert erase.main([str(GHOST), *WHY]) == 0

    assert place.traces() == []
    assert place.query("select count(*) from warehouse.users") == [(listeners - 1,)]
    assert not tells("".join(capsys.readouterr()))
    assert record(place) == [("erased", "asked to be forgotten", "ticket 12", True, FOUND)]
    assert_rows_add_up(place.query)
    copy = place.data_dir / "backups" / "erased.json"
    assert (copy.stat().st_mode | copy.parent.stat().st_mode) & 0o077 == 0

    assert erase.main([str(GHOST), *WHY]) == 0  # once more: nothing is left to be found
    assert "nothing was found" in capsys.readouterr().out
    assert [found for *_, found in record(place)] == [FOUND, NOTHING]


def erased_of(place: Place, batch_id: str) -> tuple[Any, ...]:
    return place.query("select status, rows_landed, rows_erased from ops.batches where batch_id = %s", batch_id)[0]


def test_what_the_source_still_sends_is_turned_away_until_they_may_come_back(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert erase.main([str(GHOST), *WHY]) == 0
    # What names no id and bears no e-mail of theirs is nobody's: a name alone is not known any more.
    place.source.users = [row for row in users() if isinstance(row, dict) and row["email"]]

    assert replay.main([f"users-{NEXT_DAY}"]) == 0  # its pages are rewritten
    assert replay.main([f"listen_history-{NEXT_DAY}"]) == 0
    assert ingest.main(["--day", THIRD_DAY]) == 0

    assert erased_of(place, f"users-{NEXT_DAY}") == ("unchanged", 22, 9)
    assert erased_of(place, f"users-{THIRD_DAY}") == ("unchanged", 18, 5)
    assert erased_of(place, f"listen_history-{THIRD_DAY}") == ("unchanged", 18, 6)
    assert place.traces() == []
    assert_rows_add_up(place.query)

    assert erase.main([str(GHOST), "--reason", "joined again", "--requested-by", "ticket 13", "--allow-again"]) == 0
    assert ingest.main(["--day", "2026-11-23"]) == 0
    assert place.query("select email from warehouse.users where id = %s", GHOST) == [(MAIL,)]
    assert [(kind, by) for kind, _, by, *_ in record(place)] == [("erased", "ticket 12"), ("allowed", "ticket 13")]
    assert_rows_add_up(place.query)


def test_without_a_database_they_are_turned_away_all_the_same(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    assert erase.main([str(GHOST), *WHY]) == 0
    place.source.users = [user(1), ghost()]
    with monkeypatch.context() as patch:
        patch.setenv("DATABASE_URL", "postgresql://nobody@127.0.0.1:1/none")
        assert ingest.main(["--day", THIRD_DAY, "--endpoint", "users"]) == 1
    assert list(place.data_dir.glob(f"landing/users/users-{THIRD_DAY}/pages-*"))
    assert place.traces() == []


def killed(place: Place, step: str, when: str, nth: int) -> None:
    """An erasure that is killed there."""
    script = (
        "import os, signal; from tests.e2e.interrupted import interrupt; from flows import erase;"
        f"interrupt({step!r}, {when!r}, {nth}, lambda: os.kill(os.getpid(), signal.SIGKILL));"
        f"erase.main({[str(GHOST), *WHY]!r})"
    )
    ended = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert ended.returncode == -signal.SIGKILL, ended.stderr


def test_an_erasure_that_is_killed_twice_ends_as_one_clean_one(place: Place) -> None:
    killed(place, "erasure.landed_pages:rewrite_file", "after", 2)
    killed(place, "erasure.steps:finish_erasure", "before", 1)  # in the middle of the transaction
    assert place.query("select count(*) from warehouse.users where id = %s", GHOST) == [(1,)]
    assert [(finished, found) for *_, finished, found in record(place)] == [(False, {**NOTHING, **_in_files(FOUND)})]

    assert erase.main([str(GHOST), *WHY]) == 0

    assert place.traces() == []
    assert record(place) == [("erased", "asked to be forgotten", "ticket 12", True, FOUND)]
    assert_rows_add_up(place.query)


def _in_files(found: dict[str, int]) -> dict[str, int]:
    return {where: found[where] for where in NOTHING}


def test_a_damaged_file_of_raw_pages_stops_no_erasure(
    place: Place, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked, published = f"users-{NEXT_DAY}", f"listen_history-{DAY}"
    files = [next((place.data_dir / "landing").glob(f"*/{batch}/pages-*")) for batch in (blocked, published)]
    for file in files:
        file.write_bytes(file.read_bytes()[:-9])
    with monkeypatch.context() as patch:  # whatever becomes of files, they are turned away, also by their e-mail
        patch.setattr("erasure.landed_pages.read_pages", unreadable)
        assert erase.main([str(GHOST), *WHY]) == 1
    listed = read_copy(place.data_dir)
    assert listed.matching_ids([GHOST]) == {GHOST}
    assert listed.matches_row_without_id("users", f'["{OLD_MAIL}"]')
    assert all(file.exists() for file in files)

    assert erase.main([str(GHOST), *WHY]) == 0

    assert place.traces() == []
    assert not any(file.parent.exists() for file in files)
    out = capsys.readouterr().out
    ((*_, finished, found),) = record(place)
    assert finished
    for batch in (blocked, published):
        assert f"1 unreadable raw page files of {batch}" in out
        assert found[f"unreadable raw page files of {batch}"] == 1
    assert replay.main([blocked]) == 1
    assert "are deleted (RETENTION_DAYS) or damaged" in capsys.readouterr().err
    assert read_copy(place.data_dir).matches_row_without_id("users", f'["{MAIL}"]')


def unreadable(path: Path) -> list[bytes]:
    raise LandingError(f"raw pages cannot be read back from {path}: Permission denied")


@pytest.mark.parametrize(("take", "says"), [(take_training_lock, "training"), (take_warehouse_lock, "another run")])
def test_a_run_at_work_is_waited_for(
    take: Callable[[Any, float], None], says: str, place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    before = database_state(place.query)
    with connect(place.database) as other:
        take(other, 0)
        assert erase.main([str(GHOST), *WHY]) == 1
    assert says in capsys.readouterr().err
    assert database_state(place.query) == before
    assert record(place) == []


def test_a_listener_whom_nobody_knows_is_turned_away_from_now_on(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    assert erase.main(["4711", *WHY]) == 0
    assert "nothing was found" in capsys.readouterr().out
    assert [found for *_, found in record(place)] == [NOTHING]
    place.source.users.append(user(4711))
    assert ingest.main(["--day", THIRD_DAY, "--endpoint", "users"]) == 0
    assert place.query("select count(*) from warehouse.users where id = 4711") == [(0,)]

    # By Prefect, as `erase/manual` does; then the page in its UI says what was found, and not of whom.
    assert erase.erase(user_id=4711, reason="asked", requested_by="ticket 12") == NOTHING
    told = Artifact.get("erase-found")
    assert told is not None
    assert "4711" not in str(told.data)


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([str(GHOST), "--reason", " ", "--requested-by", "ticket 12"], "--reason must say something"),
        ([str(GHOST), "--reason", "asked", "--requested-by", "ada@example.com"], "must not hold an e-mail address"),
        (
            [str(GHOST), "--reason", "asked", "--requested-by", "ada\uff20example.com"],
            "must not hold an e-mail address",
        ),
        (
            [str(GHOST), "--reason", "ada%40example.com", "--requested-by", "ticket 12"],
            "must not hold an e-mail address",
        ),
        (["4711", "--reason", "of \uff14\uff17\uff11\uff11", "--requested-by", "t"], "must not contain the user's id"),
        ([str(GHOST), "--reason", f"forget {GHOST}", "--requested-by", "ticket 12"], "must not contain the user's id"),
        (["-1", *WHY], "USER_ID must be"),
    ],
)
def test_what_would_keep_them_is_refused(arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert erase.main(arguments) == 2
    assert says in capsys.readouterr().err


@pytest.mark.parametrize("more", [[str(GHOST)], ["--allow-again"], WHY])
def test_again_is_for_everybody_on_the_list(more: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        erase.main(["--again", *more])
    assert ended.value.code == 2
    assert "--again" in capsys.readouterr().err


def test_who_comes_back_with_a_backup_is_erased_again(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{embedded_postgres.programs_folder()}{os.pathsep}{os.environ['PATH']}")
    shutil.rmtree(place.data_dir / "landing")  # of another machine
    assert backup.main(["make", str(tmp_path / "before.tar")]) == 0
    assert erase.main([str(GHOST), *WHY]) == 0
    _disconnect(place)

    assert backup.main(["restore", str(tmp_path / "before.tar"), "--force"]) == 0

    with open_query(place.database) as query:
        restored = replace(place, query=query)
        assert restored.traces() == []
        assert [(by, finished) for _, _, by, finished, _ in record(restored)] == [("flows.erase --again", True)]


def _disconnect(place: Place) -> None:
    with psycopg.connect(place.database, autocommit=True) as connection:
        connection.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database()"
            " and pid <> pg_backend_pid()"
        )
