"""The peer of an ingest: loads the three snapshots into Postgres without checks, accounts or recovery.

`python -m benchmarks.minimal_loader API_URL DATABASE_URL`. It reads the pages with `requests`, and inserts or updates
each row by its key.
"""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import requests
from psycopg import sql

from core.database import Connection, connect

PAGE_SIZE = 100
FETCH_THREADS = 4
_KEYS = {"tracks": ("id",), "users": ("id",), "listen_history": ("user_id", "created_at")}
_TYPES = {
    "id": "bigint",
    "user_id": "bigint",
    "items": "bigint[]",
    "created_at": "timestamp",
    "updated_at": "timestamp",
}


def main() -> None:
    """Load all snapshots."""
    api_url, database_url = sys.argv[1:]
    with connect(database_url) as connection:
        for endpoint in _KEYS:
            rows = fetch_rows(f"{api_url}/{endpoint}")
            with connection.transaction():
                _load(connection, endpoint, rows)


def fetch_rows(url: str) -> list[dict[str, Any]]:
    """All rows of an endpoint, without checks."""
    with requests.Session() as session, ThreadPoolExecutor(FETCH_THREADS) as executor:

        def fetch_page(number: int) -> dict[str, Any]:
            page: dict[str, Any] = session.get(url, params={"page": number, "size": PAGE_SIZE}, timeout=60).json()
            return page

        first = fetch_page(1)
        pages = [first, *executor.map(fetch_page, range(2, first["pages"] + 1))]
    return [row for page in pages for row in page["items"]]


def _load(connection: Connection, endpoint: str, rows: list[dict[str, Any]]) -> None:
    columns, key = list(rows[0]), _KEYS[endpoint]
    table, staged = sql.Identifier("public", endpoint), sql.Identifier(f"staged_{endpoint}")
    definitions = sql.SQL(", ").join(
        sql.SQL("{} {}").format(sql.Identifier(name), sql.SQL(_TYPES.get(name, "text"))) for name in columns
    )
    names, key_names = (sql.SQL(", ").join(map(sql.Identifier, part)) for part in (columns, key))
    create = sql.SQL("create table if not exists {} ({}, primary key ({}))")
    connection.execute(create.format(table, definitions, key_names))
    connection.execute(sql.SQL("create temporary table {} ({})").format(staged, definitions))
    with connection.cursor().copy(sql.SQL("copy {} from stdin").format(staged)) as copy:
        for row in rows:
            copy.write_row([row[name] for name in columns])
    changes = sql.SQL(", ").join(sql.SQL("{0} = excluded.{0}").format(sql.Identifier(name)) for name in columns)
    merge = sql.SQL("insert into {} select distinct on ({}) {} from {} on conflict ({}) do update set {}")
    connection.execute(merge.format(table, key_names, names, staged, key_names, changes))


if __name__ == "__main__":
    main()
