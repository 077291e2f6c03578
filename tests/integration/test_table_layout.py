"""Partitions of mart.user_track_plays and the tablespace of old months change how rows are stored, and nothing else."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import psycopg
import pytest

from benchmarks import sample_data
from core import embedded_postgres, migrate
from core.database import connect, warehouse_lock
from core.dates import months_before
from core.errors import SettingsError
from core.roles import INGEST, in_role
from core.table_layout import move_old_months
from flows.ingest import main as ingest
from services.backup import main as backup
from tests.conftest import BASE_DAY, MockApi, Query
from tests.database_state import assert_rows_add_up
from tests.rights import rights_of_relations

TABLE, TABLESPACE = "mart.user_track_plays", "slow_disks"
NEXT_DAY = str(date.fromisoformat(BASE_DAY) + timedelta(days=1))
# One row per partition of a table.
PARTITIONS = (
    "select relname::text, relowner::regrole::text from pg_inherits join pg_class as leaf on leaf.oid = inhrelid"
    f" where inhparent = '{TABLE}'::regclass order by 1"
)


@pytest.fixture
def tablespace(postgres: str) -> Iterator[str]:
    """A tablespace in a folder that belongs to the user of the server."""
    folder = Path(tempfile.mkdtemp(prefix="pg-tablespace-"))
    with psycopg.connect(postgres, autocommit=True) as connection:
        row = connection.execute("show data_directory").fetchone()
        assert row
        owner = Path(row[0]).stat()
        shutil.chown(folder, owner.st_uid, owner.st_gid)
        connection.execute(f"create tablespace {TABLESPACE} location '{folder}'")
    yield TABLESPACE
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(f"drop tablespace if exists {TABLESPACE}")  # the test's database is dropped already
    shutil.rmtree(folder)


def test_partitions_keep_rows_rights_and_results(
    api: MockApi, environment: Path, database: str, query: Query, monkeypatch: pytest.MonkeyPatch
) -> None:
    with connect(database) as connection:
        rights = rights_of_relations(connection)
    comments = "select objsubid, description from pg_description where objoid = 'mart.user_track_plays'::regclass"
    described = sorted(query(comments))
    assert described

    def store_in(partitions: int) -> None:
        monkeypatch.setenv("USER_TRACK_PLAYS_PARTITIONS", str(partitions))
        before = sorted(query(f"select * from {TABLE}"))
        assert migrate.main([]) == 0
        leaves = query(PARTITIONS)
        names = [f"user_track_plays_{partitions}_{number}" for number in range(partitions)] if partitions > 1 else []
        assert leaves == [(name, INGEST) for name in names]
        assert sorted(query(f"select * from {TABLE}")) == before
        with connect(database) as connection:
            assert rights_of_relations(connection) == rights
        assert sorted(query(comments)) == described

    store_in(4)
    assert ingest(["--day", BASE_DAY]) == 0  # the first load builds the keys of all partitions
    assert_rows_add_up(query)
    assert min(query(f"select count(*) from {TABLE} group by tableoid")) > (0,)
    store_in(3)
    monkeypatch.delenv("USER_TRACK_PLAYS_PARTITIONS")
    assert migrate.main([]) == 0  # as after an upgrade
    assert len(query(PARTITIONS)) == 3
    api.set_day(NEXT_DAY)
    assert ingest(["--day", NEXT_DAY]) == 0  # adds and subtracts plays
    assert_rows_add_up(query)
    store_in(1)
    assert_rows_add_up(query)


def test_another_number_of_partitions_waits_for_a_run(
    environment: Path, database: str, query: Query, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LOCK_WAIT_SECONDS", "0")
    with connect(database) as run, warehouse_lock(run, 5):
        assert migrate.main([]) == 0  # nothing to change
        monkeypatch.setenv("USER_TRACK_PLAYS_PARTITIONS", "2")
        assert migrate.main([]) == 1
    assert "another run is at work" in capsys.readouterr().err
    assert query(PARTITIONS) == []


def test_old_months_move_to_a_tablespace_and_stay_readable(tablespace: str, database: str, query: Query) -> None:
    months = ("2024_03", "2024_04", "2024_05")
    with connect(database) as connection:
        sample_data.insert_catalogue(connection, 1, 1)
    with connect(in_role(database, INGEST)) as connection:
        for first, last, month in zip((3, 4, 5), (4, 5, 6), months, strict=True):
            for table in ("listen_history", "listen_history_tracks"):
                connection.execute(
                    f"create table warehouse.{table}_{month} partition of warehouse.{table}"
                    f" for values from ('2024-0{first}-01') to ('2024-0{last}-01')"
                )
        connection.execute(
            "insert into warehouse.listen_history values (1, 1, '2024-03-05', '2024-03-05', null, 0, 'b')"
        )
        with pytest.raises(SettingsError, match="grant create on tablespace slow_disks to moovitamix_ingest"):
            move_old_months(connection, tablespace, date(2024, 5, 15))
        with pytest.raises(SettingsError, match="does not have; create it first"):
            move_old_months(connection, "no_such_disks", date(2024, 5, 15))
        with connect(database) as owner:
            owner.execute(f"grant create on tablespace {tablespace} to moovitamix_ingest")
        assert move_old_months(connection, tablespace, months_before(date(2024, 6, 15), 1)) >= 8, "tables and keys"
        assert move_old_months(connection, tablespace, date(2024, 5, 1)) == 0
        connection.execute("update warehouse.listen_history set updated_at = '2024-03-06'")
        connection.execute(
            "insert into warehouse.listen_history values (2, 1, '2024-04-05', '2024-04-05', null, 0, 'b')"
        )
    moved = query(
        "select distinct substring(relname from '[0-9]{4}_[0-9]{2}') from pg_class"
        " join pg_tablespace as space on space.oid = reltablespace where spcname = 'slow_disks'"
        " and relname ~ '^listen' order by 1"
    )
    assert moved == [(month,) for month in months[:2]]
    assert query("select count(*) from warehouse.listen_history where tableoid::regclass::text ~ '2024_0[34]'") == [
        (2,)
    ]


def test_backup_with_old_months_is_restored_on_a_server_without_their_tablespace(
    tablespace: str, database: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DATABASE_URL", database)
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("PATH", f"{embedded_postgres.programs_folder()}{os.pathsep}{os.environ['PATH']}")
    with connect(database) as connection:
        connection.execute(
            "create table warehouse.listen_history_2024_03 partition of warehouse.listen_history"
            f" for values from ('2024-03-01') to ('2024-04-01') tablespace {tablespace}"
        )
    assert backup(["make", str(tmp_path / "database.tar")]) == 0
    with connect(database) as connection:
        connection.execute("drop table warehouse.listen_history_2024_03")
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(f"drop tablespace {tablespace}")

    assert backup(["restore", str(tmp_path / "database.tar"), "--force"]) == 0
    with connect(database) as connection:
        rows = connection.execute("select reltablespace::int from pg_class where relname = 'listen_history_2024_03'")
        assert rows.fetchall() == [(0,)]


def test_first_day_of_a_month_before() -> None:
    assert months_before(date(2024, 5, 31), 0) == date(2024, 5, 1)
    assert months_before(date(2024, 1, 15), 1) == date(2023, 12, 1)
    assert months_before(date(2024, 6, 15), 30) == date(2021, 12, 1)
