"""The queries in `sql/`, by name."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from psycopg import sql

SQL_FOLDER = Path(__file__).parent.parent / "sql"
# A value for a placeholder: an identifier, a qualified identifier, or SQL.
Part = str | tuple[str, str] | sql.Composable
_NAME = re.compile(r"^-- name: (\w+)\n", re.MULTILINE)


@cache
def load_query(name: str, folder: Path = SQL_FOLDER) -> str:
    """The text of a query, without its final semicolon.

    `ops/runs.start_run` is the block of `sql/ops/runs.sql` below the line `-- name: start_run`.
    `ops/record_batch` is the whole file `sql/ops/record_batch.sql`. Raises FileNotFoundError if there is no such
    file, KeyError if it has no such block, and ValueError as `named_queries`.
    """
    file, _, block = name.partition(".")
    path = folder / f"{file}.sql"
    text = named_queries(path)[block] if block else path.read_text()
    return text.rstrip().removesuffix(";")


@cache
def named_queries(path: Path) -> dict[str, str]:
    """The blocks of a file by name, in order. Empty if the file is a single query.

    Raises ValueError if a query has no name, or two queries have the same name.
    """
    preamble, *parts = _NAME.split(path.read_text())
    blocks = dict(zip(parts[::2], parts[1::2], strict=True))
    if parts and (preamble.strip() or 2 * len(blocks) != len(parts)):
        raise ValueError(f"{path}: a query has no name, or two queries have the same name")
    return blocks


def compose_query(name: str, **parts: Part) -> sql.Composed:
    """The query with its `{placeholders}` replaced. Raises the errors of `load_query`, and KeyError for a missing part.

    A string becomes a quoted identifier. Two strings become a schema and a table. If Postgres accepts no parameter, as
    for the bounds of a partition, pass the value as `sql.Literal`.
    """
    return sql.SQL(load_query(name)).format(**{key: _part(part) for key, part in parts.items()})


def _part(part: Part) -> sql.Composable:
    if isinstance(part, sql.Composable):
        return part
    return sql.Identifier(*([part] if isinstance(part, str) else part))
