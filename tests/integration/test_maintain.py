"""Maintenance deletes old files and staging tables. It keeps the ledger, rejected rows and published rows."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from core.database import connect
from core.errors import DatabaseError
from core.roles import INGEST, in_role
from flows import ingest, maintain
from pipeline.retention import prune_experiments
from tests.conftest import MockApi, Query
from tests.database_state import database_state

pytestmark = pytest.mark.usefixtures("prefect_server")


def test_maintain_deletes_only_old_pages_staging_tables_and_docs(
    api: MockApi, environment: Path, query: Query, capsys: pytest.CaptureFixture[str]
) -> None:
    api.set_faults({"endpoint": "users", "bad_rows": {"id_null": 2}})
    assert ingest.main(["--day", "2026-11-20"]) == 0
    state = database_state(query)
    orphan = environment / "landing" / "users" / "users-2020-01-01"
    orphan.mkdir()
    os.utime(orphan, (0, 0))

    assert maintain.main(["--retention-days", "1"]) == 0  # only the orphan is older than a day
    assert not orphan.exists()
    assert len(list((environment / "landing").glob("*/*/manifest.json"))) == 3
    query("update ops.batches set started_at = started_at - interval '2 days' returning 1")

    assert maintain.main(["--retention-days", "1"]) == 0
    assert list((environment / "landing").glob("*/*")) == []
    assert query("select count(*) from pg_tables where schemaname = 'staging'") == [(0,)]
    assert database_state(query) == state
    assert "3 landings, 9 staging tables" in capsys.readouterr().out


def test_ingest_after_maintain_detects_unchanged_rows(api: MockApi, environment: Path, query: Query) -> None:
    assert ingest.main(["--day", "2026-11-20"]) == 0
    query("update ops.batches set started_at = started_at - interval '30 days' returning 1")
    assert maintain.main([]) == 0
    assert ingest.main(["--day", "2026-11-21"]) == 0
    unchanged = query("select distinct status from ops.batches where day = '2026-11-21'")
    assert unchanged == [("unchanged",)]


def test_crash_between_outcomes_and_exposures_deletes_neither(database: str, query: Query) -> None:
    with connect(database) as owner:
        owner.execute("set session_replication_role = replica")  # no user and no model is needed
        owner.execute(
            "insert into ml.experiments"
            " (control_run_id, treatment_run_id, treatment_share, why, started_at, ended_at, outcome)"
            " values (1, 2, 0.5, 'test', '2026-01-01', '2026-01-02', 'stopped')"
        )
        owner.execute("insert into ml.experiment_exposures values (1, 7, true, '2026-01-01', null)")
        owner.execute("insert into ml.experiment_outcomes values (1, 7, '2026-01-01', 1, 1, 1, true)")
        owner.execute(
            "create function public.crash() returns trigger language plpgsql security definer as $$"
            " begin perform pg_terminate_backend(pg_backend_pid()); perform pg_sleep(60); return old; end $$"
        )
        owner.execute("create trigger crash before delete on ml.experiment_exposures execute function public.crash()")

    def kept() -> list[tuple[int, int]]:
        return query(
            "select (select count(*) from ml.experiment_outcomes), (select count(*) from ml.experiment_exposures)"
        )

    oldest = datetime(2026, 2, 1, tzinfo=UTC)
    with connect(in_role(database, INGEST)) as connection, pytest.raises(DatabaseError):
        prune_experiments(connection, oldest)
    assert kept() == [(1, 1)]

    with connect(database) as owner:
        owner.execute("drop function public.crash() cascade")
    with connect(in_role(database, INGEST)) as connection:
        assert prune_experiments(connection, oldest) == {"experiment_outcomes": 1, "experiment_exposures": 1}
    assert kept() == [(0, 0)]
