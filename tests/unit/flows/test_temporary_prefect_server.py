"""The initial database of a temporary Prefect server: a copy of the template, if it is usable."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from flows.temporary_prefect_server import _copy_template, template_stamp

REVISION = "a3b9c7d2e5f1"


def make(path: Path, *, revision: str = REVISION, stamp: int | None = None, wal: bool = False) -> None:
    with closing(sqlite3.connect(path)) as database:
        if wal:
            database.execute("pragma journal_mode = wal")
        database.execute("create table alembic_version (version_num text)")
        database.execute("insert into alembic_version values (?)", [revision])
        database.execute("create table filler (text text)")
        database.executemany("insert into filler values (?)", [("x" * 500,)] * 100)
        database.execute(f"pragma user_version = {template_stamp(REVISION) if stamp is None else stamp}")
        database.commit()


def newer(path: Path) -> None:
    make(path)
    with closing(sqlite3.connect(path)) as database:
        database.execute("update alembic_version set version_num = 'ffffffffffff'")
        database.commit()


def truncated(path: Path) -> None:
    make(path)
    path.write_bytes(path.read_bytes()[:9_000])


def overwritten(path: Path) -> None:
    make(path)
    content = bytearray(path.read_bytes())
    content[8_192:20_000] = b"\xff" * (20_000 - 8_192)
    path.write_bytes(bytes(content))


UNUSABLE: dict[str, Callable[[Path], object]] = {
    "of a newer Prefect": newer,
    "of another Prefect": lambda path: make(path, stamp=template_stamp(REVISION) + 1),
    "with the runs of an earlier version of ours": lambda path: make(path, stamp=0, wal=True),
    "truncated": truncated,
    "overwritten": overwritten,
    "empty": lambda path: path.write_bytes(b""),
    "no database": lambda path: path.write_text("not a database"),
    "a folder": lambda path: path.mkdir(),
    "a link to nowhere in a loop": lambda path: path.symlink_to(path),
}


@pytest.mark.parametrize("kind", UNUSABLE)
def test_unusable_template_is_set_aside_with_a_note(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    template, database = tmp_path / "prefect.db", tmp_path / "run.db"
    for _ in range(2):  # the second replaces the first
        UNUSABLE[kind](template)
        template.with_name("prefect.db-wal").write_bytes(b"of another database")
        assert not _copy_template(template, database)
        note = capsys.readouterr().err
        assert note.count("\n") == 1
        assert "set aside as prefect.db.set-aside" in note
        assert not template.is_symlink() and not template.exists() and not database.exists()
        assert sorted(path.name for path in tmp_path.iterdir()) == ["prefect.db.set-aside"]


def test_usable_template_is_copied_while_another_process_locks_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    template, database = tmp_path / "prefect.db", tmp_path / "run.db"
    make(template)
    template.chmod(0o444)
    with closing(sqlite3.connect(template, isolation_level=None)) as locking_connection:
        locking_connection.execute("begin exclusive")
        assert _copy_template(template, database)
    assert database.read_bytes() == template.read_bytes()
    assert capsys.readouterr().err == ""


def test_missing_template_prints_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert not _copy_template(tmp_path / "prefect.db", tmp_path / "run.db")
    assert capsys.readouterr().err == ""
