"""The embedded server: a full disk, a reused process id, and a user without a name."""

from __future__ import annotations

import os
from pathlib import Path

import psycopg
import pytest

from core import embedded_postgres
from core.errors import DatabaseError, DatabaseFull
from tests.ordinary_user import acting_as_ordinary_user


def test_a_server_without_disk_space_fails_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server runs, but refuses each new session. Waiting would take minutes and would not help."""

    def refuses(*_: object, **__: object) -> None:
        raise psycopg.OperationalError("FATAL:  could not write init file: No space left on device")

    monkeypatch.setattr(psycopg, "connect", refuses)
    monkeypatch.setattr(embedded_postgres._Server, "running", True)
    monkeypatch.setattr(embedded_postgres, "_START_SECONDS", 1)
    with pytest.raises(DatabaseFull, match="no disk space left"):
        embedded_postgres._Server(tmp_path).wait_until_ready()


def test_postgres_server_of_another_folder_is_not_used(postgres: str, tmp_path: Path) -> None:
    """After a crash, `postmaster.pid` may hold its process id. `pg_ctl stop` would then stop the other server."""
    with psycopg.connect(postgres) as connection:
        row = connection.execute("show data_directory").fetchone()
    assert row is not None
    other_folder = Path(row[0])
    assert embedded_postgres._Server(other_folder.parent).running
    (tmp_path / "postgres").mkdir()
    (tmp_path / "postgres" / "postmaster.pid").write_text((other_folder / "postmaster.pid").read_text())
    assert not embedded_postgres._Server(tmp_path).running


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as a user that does not exist")
def test_the_error_for_a_user_without_a_name_says_what_to_do() -> None:
    with acting_as_ordinary_user(4_000_000), pytest.raises(DatabaseError, match="user 4000000 has none; add the user"):
        embedded_postgres.check_user()
