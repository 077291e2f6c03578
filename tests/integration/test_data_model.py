"""Comments in the database describe every table and column; the pages in `docs/data-model/` equal the comments."""

from __future__ import annotations

import shutil
from pathlib import Path

import psycopg
import pytest

from cli import data_model_pages
from core.database import connect, migrate, newest_migration
from core.endpoints import ENDPOINTS
from core.roles import ANALYST, in_role
from core.side_schemas import SCHEMAS
from services.backup import main as backup
from tests.conftest import ROOT
from tests.integration.monitor.test_upgrade import migrate_to
from tests.integration.test_restore import add_rows, data_dir, set_environment  # noqa: F401

Connection = psycopg.Connection

# Kinds of relations that need no own comment, with the reason.
EXEMPT = {
    "staging": "a table in staging belongs to one batch or publication; the comment on the schema describes it",
    "partition": "a partition has the columns of its parent, whose comments describe it",
}
# Columns with personal data, in addition to the personal fields of the endpoints.
PERSONAL = {
    "warehouse.users.gender",
    "warehouse.users.favorite_genres",
    "mart.dim_users.gender",
    "mart.dim_users.favorite_genres",
    "ml.feedback.useful",
    "ops.batches.unknown_fields",
    "ops.rejected_rows.raw_json",
    "ops.quarantined_rows.row_key",
    "ops.suppressed_listeners.fingerprint",
    "ops.suppressed_listeners.e_mails",
}
_SCHEMAS = """
select nspname::text, coalesce(obj_description(oid, 'pg_namespace'), '') from pg_namespace
where nspname !~ '^(pg_|information_schema$|public$)'
"""
_RELATIONS = """
select
    relnamespace::regnamespace || '.' || relname,
    coalesce(obj_description(pg_class.oid, 'pg_class'), ''),
    case when relnamespace = 'staging'::regnamespace then 'staging' when relispartition then 'partition' end
from pg_class
where relkind in ('r', 'p', 'v', 'm', 'f') and relnamespace = any(%s::regnamespace[])
"""
_COLUMNS = """
select
    relnamespace::regnamespace || '.' || relname || '.' || attname,
    coalesce(col_description(pg_class.oid, attnum), '')
from pg_class
join pg_attribute on attrelid = pg_class.oid and attnum > 0 and not attisdropped
where relkind in ('r', 'p', 'v', 'm', 'f') and relnamespace = any(%s::regnamespace[])
    and not relispartition and relnamespace <> 'staging'::regnamespace
"""


def comments(connection: Connection) -> dict[str, str]:
    """The comment on each schema, table, view and column that is not exempt."""
    texts = dict(connection.execute(_SCHEMAS).fetchall())
    schemas = [list(texts)]
    relations = connection.execute(_RELATIONS, schemas).fetchall()
    texts |= {name: comment for name, comment, exemption in relations if exemption not in EXEMPT}
    return texts | dict(connection.execute(_COLUMNS, schemas).fetchall())


def exempt(connection: Connection) -> dict[str, str]:
    """The relations that need no comment, with their kind."""
    rows = connection.execute(_RELATIONS, [list(SCHEMAS)]).fetchall()
    return {name: exemption for name, _comment, exemption in rows if exemption}


def test_every_schema_table_and_column_has_a_comment(database: str) -> None:
    """A new table or column fails here until its migration comments on it."""
    with connect(database) as connection:
        texts = comments(connection)
        assert set(SCHEMAS) <= set(texts)
        assert {name for name, comment in texts.items() if not comment.strip()} == set()
        assert exempt(connection) == {}


def test_pages_equal_the_comments(database: str) -> None:
    """If this fails, run `python -m cli.data_model_pages` and commit the pages."""
    with connect(database) as connection:
        pages = data_model_pages.pages(connection)
        texts = comments(connection)
    assert {path.name for path in data_model_pages.FOLDER.iterdir()} == {
        path.name for path in pages if path.parent == data_model_pages.FOLDER
    }
    assert {path for path, text in pages.items() if path.read_text() != text} == set()
    content = "\n".join(pages.values())
    assert {name for name, comment in texts.items() if comment not in content} == set()
    columns = {name.split(".")[-1] for name in texts if name.count(".") == 2}
    assert {column for column in columns if f"| `{column}` |" not in content} == set()


def test_outdated_page_is_rewritten(database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(data_model_pages.INDEX, tmp_path)
    shutil.copytree(data_model_pages.FOLDER, tmp_path / "data-model")
    page = tmp_path / "data-model" / "serving.md"
    page.write_text(page.read_text().replace("SHA-256", "MD5"))
    monkeypatch.setattr(data_model_pages, "INDEX", tmp_path / "data-model.md")
    monkeypatch.setattr(data_model_pages, "FOLDER", tmp_path / "data-model")
    monkeypatch.setenv("DATABASE_URL", database)
    monkeypatch.chdir(tmp_path)
    with connect(database) as connection:
        connection.execute("comment on column serving.api_keys.name is 'Another text.'")

    assert data_model_pages.main([]) == 0

    text = page.read_text()
    assert "SHA-256" in text
    assert "| `name` | text | Another text. |" in text
    assert (tmp_path / "data-model" / "ops.md").read_text() == (ROOT / "docs" / "data-model" / "ops.md").read_text()


def test_comments_name_personal_data(database: str) -> None:
    fields = {
        f"warehouse.{endpoint}.{field.name}"
        for endpoint, specification in ENDPOINTS.items()
        for field in specification.fields
        if field.personal
    }
    with connect(database) as connection:
        texts = comments(connection)
    user_ids = {name for name in texts if name.endswith(".user_id")}
    assert {name for name, comment in texts.items() if "personal data" in comment} == fields | user_ids | PERSONAL


def test_new_partitions_are_described_by_their_parent(database: str) -> None:
    with connect(database) as connection:
        texts = comments(connection)
        connection.execute(
            "create table warehouse.listen_history_2026_11 partition of warehouse.listen_history"
            " for values from ('2026-11-01') to ('2026-12-01');"
            "create table ml.recommendations_7 partition of ml.recommendations for values in (7);"
            "create table staging.users_2026_11_22 (id bigint)"
        )
        assert exempt(connection) == {
            "warehouse.listen_history_2026_11": "partition",
            "ml.recommendations_7": "partition",
            "staging.users_2026_11_22": "staging",
        }
        assert comments(connection) == texts
        assert {path for path, text in data_model_pages.pages(connection).items() if path.read_text() != text} == set()


def test_migration_adds_the_comments(empty_database: str, database: str) -> None:
    migrate_to(empty_database, "0011")
    with connect(empty_database) as connection:
        assert set(comments(connection).values()) == {""}
    migrate(empty_database)
    migrate(empty_database)
    with connect(empty_database) as connection, connect(database) as new:
        assert comments(connection) == comments(new)


def test_analyst_can_read_the_comments(database: str) -> None:
    with connect(in_role(database, ANALYST)) as connection, connect(database) as owner:
        assert comments(connection) == comments(owner)


@pytest.mark.parametrize("revision", ["0011", newest_migration()])
def test_restored_database_has_the_comments(
    revision: str,
    empty_database: str,
    database: str,
    data_dir: Path,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The comments come from the backup or, for an older backup, from the next migration."""
    migrate_to(empty_database, revision)
    set_environment(empty_database, data_dir, monkeypatch)
    add_rows(empty_database, 1)
    assert backup(["make", str(tmp_path / "database.tar")]) == 0
    assert backup(["restore", str(tmp_path / "database.tar"), "--force"]) == 0
    with connect(database) as new:
        expected = comments(new)
    with connect(empty_database) as connection:
        restored = comments(connection)
        assert restored == (expected if revision == newest_migration() else dict.fromkeys(restored, ""))
    migrate(empty_database)
    with connect(empty_database) as connection:
        assert comments(connection) == expected
