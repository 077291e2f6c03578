"""Postgres accepts every query of `sql/` in the migrated schema, and the code uses every query."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from typing import LiteralString

import psycopg
import pytest
from psycopg import sql

from core.database import Connection, connect
from core.endpoints import ENDPOINTS, Endpoint
from core.queries import SQL_FOLDER, Part, compose_query, load_query, named_queries
from pipeline.endpoint_tables import (
    copy_published_keys,
    create_removed_table,
    create_rows_table,
    insert_numbered_rows,
    insert_rows,
    mark_removed_rows,
    update_numbered_rows,
    update_rows,
)
from tests.conftest import ROOT

# Values for the placeholders of the queries, of the same kind as in the code.
_SESSIONS = ("staging", "listen_history_1")
PARTS: dict[str, Part] = {
    "batch": _SESSIONS,
    "constraint": "constraint",
    "column": "user_id",
    "key": sql.SQL("user_id, rank"),
    "keys": sql.SQL("user_id, created_at"),
    "limit": sql.Literal(5),
    "lists": ("staging", "fresh_recommendations"),
    "loading": ("staging", "loading_sessions"),
    "number": sql.Literal(1),
    "modulus": sql.Literal(2),
    "partition": ("mart", "user_track_plays_0"),
    "remainder": sql.Literal(0),
    "parent": ("ml", "recommendations"),
    "password": sql.Literal("a SCRAM hash"),
    "profile": ("staging", "profile_1"),
    "removed": ("staging", "removed_listen_history_1"),
    "staged": _SESSIONS,
    "start": sql.Literal("2026-11-01 00:00:00+00"),
    "plays": ("warehouse", "listen_history_tracks"),
    "sessions": ("warehouse", "listen_history"),
    "table": ("staging", "new"),
    "stop": sql.Literal("2026-12-01 00:00:00+00"),
}
# Queries that need other values.
EXCEPTIONS: dict[str, dict[str, Part]] = {
    "audit/batch_figures.measure_tracks": {
        "batch": ("staging", "tracks_1"),
        "removed": ("staging", "removed_tracks_1"),
    },
    "audit/batch_figures.measure_users": {"batch": ("staging", "users_1"), "removed": ("staging", "removed_users_1")},
    "audit/stream.delete_failed_lists": {"table": ("staging", "fresh_recommendations")},
    "audit/staged_rows.find_blank_values": {"batch": ("staging", "users_1"), "column": "email"},
    "audit/staged_rows.find_duplicate_ids": {"batch": ("staging", "users_1")},
    "erasure/user_rows.find_identity": {"table": ("staging", "users_1")},
    "erasure/user_rows.delete_rows_of_user": {"table": ("mart", "user_track_plays")},
    "ops/published_snapshots.digest_live_rows": {"table": ("warehouse", "tracks"), "key": "id"},
    "recommendations/partitions.add_primary_key": {"staged": ("staging", "recommendations_1")},
    "recommendations/partitions.move_to_ml": {"staged": ("staging", "recommendations_1")},
    "recommendations/partitions.attach_partition": {"table": ("staging", "recommendations_1")},
    "recommendations/partitions.detach_partition": {"table": ("staging", "recommendations_1")},
    "recommendations/partitions.finish_detaching": {"table": ("staging", "recommendations_1")},
    "recommendations/publications.finish_publication": {"profile": ("staging", "recommendations_1_profile")},
    "staging/tables.insert_profile": {"table": ("staging", "profile_1")},
    "warehouse/months.create_month": {"table": ("staging", "new")},
    "warehouse/sessions.insert_plays": {"target": ("warehouse", "listen_history_tracks")},
}
for _name in named_queries(SQL_FOLDER / "audit" / "recommendations.sql"):
    EXCEPTIONS[f"audit/recommendations.{_name}"] = {
        "batch": ("staging", "recommendations_1"),
        "profile": ("staging", "recommendations_1_profile"),
    }
# Statements that create the tables for the other queries, in this order.
SETUP_QUERIES: dict[str, dict[str, Part]] = {
    "staging/tables.create_profile": {"table": ("staging", "profile_1")},
    "recommendations/partitions.create_recommendations": {"table": ("staging", "recommendations_1")},
    "recommendations/partitions.create_similar_tracks": {"table": ("staging", "similar_tracks_1")},
    "recommendations/partitions.create_profile": {
        "table": ("staging", "recommendations_1_profile"),
        "lists": ("staging", "recommendations_1"),
    },
    "audit/stage_streamed_sessions": {"table": ("staging", "streamed_sessions")},
    "audit/stage_fresh_recommendations": {"table": ("staging", "fresh_recommendations")},
    "audit/batch_figures.create_day_sessions": {"batch": _SESSIONS, "removed": ("staging", "removed_listen_history_1")},
    "warehouse/sessions.create_changed_sessions": {},
    "warehouse/sessions.create_removed_sessions": {"removed": ("staging", "removed_listen_history_1")},
    "warehouse/months.create_loading_sessions": {},
    "warehouse/months.create_loading_plays": {},
    "marts/create_changed_plays": {},
    "marts/create_play_changes": {},
    "marts/daily.create_activity_changes": {},
    "marts/daily.create_track_changes": {},
    "marts/daily.create_counted_weeks": {},
    "quality/create_day_plays": {},
    "quality/days.create_day_users": {},
    "quality/days.create_day_lists": {},
    "quality/days.create_day_user_tracks": {},
}
# The temporary tables of audit/batch_figures.create_snapshot: endpoint, name and columns.
SNAPSHOTS: tuple[tuple[Endpoint, str, LiteralString], ...] = (
    ("tracks", "track_snapshot", "duration_seconds, artist, genres"),
    ("users", "user_snapshot", "gender, favorite_genres"),
)
# Queries that need more than this schema, and why. Postgres checks only their syntax.
SYNTAX_ONLY = {
    "restore/schemas.swap_schemas": "needs restored schemas; test_restore.py runs it",
    "marts/user_track_plays.add_primary_key": "needs a table without the key",
    "marts/daily.add_primary_keys": "needs tables without their keys",
    "recommendations/partitions.attach_partition": "needs a partition with key and check",
    "recommendations/partitions.detach_partition": "cannot run in a transaction",
    "recommendations/partitions.drop_check": "needs a partition with the check",
    "recommendations/partitions.finish_detaching": "needs an interrupted detaching",
    "warehouse/months.add_foreign_key": "needs months of sessions and plays",
    "warehouse/months.attach_month": "needs a loaded month",
    "warehouse/months.detach_month": "needs a loaded month",
}
# Queries that need the result of others of the same file.
AFTER = {
    "layout/user_track_plays.create_table": ("rename_table",),
    "layout/user_track_plays.create_partitioned_table": ("rename_table",),
    "layout/user_track_plays.create_partition": ("rename_table", "create_partitioned_table"),
    "layout/user_track_plays.copy_rows": ("rename_table", "create_table"),
    "layout/user_track_plays.find_rights": ("rename_table", "create_table"),
    "marts/daily.create_activity_changes_of_user": ("drop_changes",),
    "marts/daily.create_track_changes_of_user": ("drop_changes",),
    "layout/user_track_plays.drop_renamed_table": ("rename_table", "create_table"),
}
_PLANNED = re.compile(
    r"(select|with|insert|update|delete|create (unlogged |temporary )?table \S+( on commit drop)? as)\b"
)
_PLACEHOLDER = re.compile(r"(?<!\{)\{(\w+)\}")
_PARAMETER = re.compile(r"%\((\w+)\)s")


def query_names() -> list[str]:
    names = []
    for path in sorted(SQL_FOLDER.rglob("*.sql")):
        file = str(path.relative_to(SQL_FOLDER).with_suffix(""))
        names += [f"{file}.{block}" for block in named_queries(path)] or [file]
    return [name for name in names if not name.startswith("migrations/")]


NAMES = query_names()


def compose(name: str, extra_parts: dict[str, Part] | None = None) -> sql.Composed:
    parts = PARTS | EXCEPTIONS.get(name, {}) | (extra_parts or {})
    return compose_query(name, **{key: parts[key] for key in _PLACEHOLDER.findall(load_query(name))})


def parameters(name: str) -> dict[str, None] | None:
    names = _PARAMETER.findall(load_query(name))
    return dict.fromkeys(names) if names else None


@pytest.fixture
def prepared_database(database: str) -> Iterator[Connection]:
    """A connection to a migrated database with the temporary tables of a run."""
    with connect(database) as connection, connection.transaction(force_rollback=True):
        for endpoint in ENDPOINTS:
            connection.execute(create_rows_table(endpoint, f"{endpoint}_1"))
            connection.execute(create_removed_table(endpoint, f"removed_{endpoint}_1"))
        for endpoint, snapshot, columns in SNAPSHOTS:
            staged = {"batch": ("staging", f"{endpoint}_1"), "removed": ("staging", f"removed_{endpoint}_1")}
            parts = {**staged, "snapshot": snapshot, "published": ("warehouse", endpoint), "columns": sql.SQL(columns)}
            connection.execute(compose("audit/batch_figures.create_snapshot", parts))
        for name, parts in SETUP_QUERIES.items():
            connection.execute(compose(name, parts), parameters(name))
        connection.execute(load_query("stream/sessions.create_incoming"))
        yield connection


def test_postgres_accepts_every_query(prepared_database: Connection) -> None:
    errors = {}
    for name in NAMES:
        try:
            with prepared_database.transaction(force_rollback=True):
                for earlier in AFTER.get(name, ()):
                    prepared_database.execute(load_query(f"{name.partition('.')[0]}.{earlier}"))
                check(prepared_database, name)
        except psycopg.Error as error:
            errors[name] = str(error)
    assert errors == {}


def test_postgres_accepts_the_statements_of_every_endpoint(prepared_database: Connection) -> None:
    bound = {"batch_id": None, "day": None, "last_id": None, "in_months": None, "start": None, "stop": None}
    for endpoint, specification in ENDPOINTS.items():
        rows, removed = f"{endpoint}_1", f"removed_{endpoint}_1"
        if specification.is_numbered:
            statements = [
                insert_numbered_rows(endpoint, rows, ("warehouse", endpoint)),
                update_numbered_rows(endpoint, "changed_sessions", ("warehouse", endpoint)),
            ]
        else:
            statements = [insert_rows(endpoint, rows), update_rows(endpoint, rows)]
            statements.append(mark_removed_rows(endpoint, removed))
        for statement in statements:
            prepared_database.execute(sql.SQL("explain {}").format(statement), bound)
        with prepared_database.cursor() as cursor, cursor.copy(copy_published_keys(endpoint)) as copy:
            assert list(copy) == []


def check(connection: Connection, name: str) -> None:
    """Let Postgres check a query. Raises psycopg.Error."""
    if name in SETUP_QUERIES or name == "audit/batch_figures.create_snapshot":
        return
    text = compose(name).as_string(connection)
    bare = re.sub(r"--[^\n]*\n", "", text).strip()
    if copy := re.fullmatch(r"copy \((.*)\) to stdout \(format (?:csv|binary)\)", bare, re.DOTALL):
        bare = copy[1].strip()
    if _PLANNED.match(bare) and ";" not in bare:
        connection.execute(f"explain {bare}", parameters(name))
    elif bare.startswith("copy "):
        with connection.cursor() as cursor, cursor.copy(bare):
            pass
    elif name in SYNTAX_ONLY:
        for statement in [bare] if bare.startswith("do ") else bare.split(";"):
            result = connection.pgconn.prepare(b"", statement.encode())
            if result.status != psycopg.pq.ExecStatus.COMMAND_OK:
                raise psycopg.ProgrammingError(result.error_message.decode())
    else:
        connection.execute(bare, parameters(name))


def test_code_uses_every_query() -> None:
    unused = [name for name in NAMES if not any(pattern.fullmatch(name) for pattern in used_names())]
    page = (ROOT / "docs" / "analysts.md").read_text()  # people run these
    assert [name for name in unused if f"](../sql/{name}.sql)" not in page] == []


def test_code_uses_no_other_query() -> None:
    """A formatted string counts as a use of every query name that it can produce."""
    folders = "|".join(sorted({name.partition("/")[0] for name in NAMES}))
    query = re.compile(rf"({folders})/[a-z_]+(\.[a-z_]+)?")
    unknown = {
        pattern.pattern
        for pattern in used_names()
        if query.fullmatch(pattern.pattern.replace("\\w+", "x").replace("\\", ""))
        and not any(pattern.fullmatch(name) for name in NAMES)
    }
    assert unknown == set()


@cache
def used_names() -> list[re.Pattern[str]]:
    """The strings in the code (tests excluded) as patterns. A replacement field matches any word.

    Where the code adds a folder, such as `console/`, to a name like `batches.find_batch`, that literal is a use.
    """
    files = subprocess.run(["git", "ls-files", "*.py"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    patterns, folders, blocks = set(), set(), set()
    for file in files.split():
        if file.startswith("tests/") or not (ROOT / file).exists():
            continue
        nodes = list(ast.walk(ast.parse((ROOT / file).read_text())))
        in_formatted = {id(part) for node in nodes if isinstance(node, ast.JoinedStr) for part in node.values}
        for node in nodes:
            if isinstance(node, ast.JoinedStr):
                parts = [re.escape(part.value) if isinstance(part, ast.Constant) else r"\w+" for part in node.values]
                pattern = "".join(parts)
                if re.fullmatch(r"[a-z]+/\\w\+", pattern):
                    folders.add(pattern.partition("/")[0])
                else:
                    patterns.add(pattern)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in in_formatted:
                patterns.add(re.escape(node.value))
                blocks |= {node.value} if re.fullmatch(r"[a-z_]+\.[a-z_]+", node.value) else set()
    patterns |= {
        re.escape(f"{folder}/{block}") for folder in folders for block in blocks if f"{folder}/{block}" in NAMES
    }
    return [re.compile(pattern) for pattern in patterns if len(pattern) < 200 and pattern != r"\w+"]


def test_values_are_bound_by_name() -> None:
    """`%(name)s` is a bound value; `{name}` is a part of the statement."""
    positional = [name for name in NAMES if re.search(r"%s|\$\d", load_query(name))]
    assert positional == []


def test_large_queries_have_their_own_files() -> None:
    line_counts = {name: load_query(name).count("\n") for name in NAMES if "." in name}
    assert {name: lines for name, lines in line_counts.items() if lines > 40} == {}
