"""Maintenance deletes old files and staging tables. It keeps the ledger, rejected rows and published rows."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from flows import ingest, maintain
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
