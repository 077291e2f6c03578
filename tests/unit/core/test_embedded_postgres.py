"""The embedded server, when it cannot work."""

from __future__ import annotations

import os
from pathlib import Path

import psycopg
import pytest

from core import embedded_postgres
from core.errors import DatabaseError, DatabaseFull
from tests.ordinary_user import acting_as_ordinary_user


def test_a_server_without_room_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It runs, and refuses each new session: waiting would take minutes and mend nothing."""

    def refuses(*_: object, **__: object) -> None:
        raise psycopg.OperationalError("FATAL:  could not write init file: No space left on device")

    monkeypatch.setattr(psycopg, "connect", refuses)
    monkeypatch.setattr(embedded_postgres._Server, "running", True)
    monkeypatch.setattr(embedded_postgres, "_START_SECONDS", 1)
    with pytest.raises(DatabaseFull, match="no disk space left"):
        embedded_postgres._Server(tmp_path).answers()


def test_a_postgres_of_another_folder_is_not_taken_for_this_one(postgres: str, tmp_path: Path) -> None:
    """After a crash its number may be in our `postmaster.pid`: `pg_ctl stop` would then stop somebody else's server."""
    with psycopg.connect(postgres) as connection:
        row = connection.execute("show data_directory").fetchone()
    assert row is not None
    others = Path(row[0])
    assert embedded_postgres._Server(others.parent).running
    (tmp_path / "postgres").mkdir()
    (tmp_path / "postgres" / "postmaster.pid").write_text((others / "postmaster.pid").read_text())
    assert not embedded_postgres._Server(tmp_path).running


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as a user that does not exist")
def test_a_user_without_a_name_is_told_so() -> None:
    with acting_as_ordinary_user(4_000_000), pytest.raises(DatabaseError, match="user 4000000 has none; add the user"):
        embedded_postgres.check_user()
