"""The actual privileges of each role in a database, in the form of `sql/rights.yaml`, and forbidden statements."""

from __future__ import annotations

from typing import Any

from core.database import Connection
from core.roles import ANALYST, INGEST, RECOMMENDER, ROLES, SERVING, STREAM

Rights = dict[str, dict[str, str]]

FORBIDDEN: dict[str, list[str]] = {
    ANALYST: [
        "select email from warehouse.users",
        "select last_name from warehouse.users",
        "select raw_json from ops.rejected_rows",
        "select unknown_fields from ops.batches",
        "select secret_hash from serving.api_keys",
        "insert into mart.user_track_plays values (1, 1, 1, '2024-05-01', '2024-05-01')",
        "insert into ml.feedback values (1, 1, null, true, 'k', '2024-05-01', '2024-05-01')",
        "update ops.batches set reason = ''",
        "delete from ml.decisions",
        "create table mart.new_table ()",
        "create table staging.new_table ()",
        "create table public.new_table ()",
    ],
    SERVING: [
        "select * from ops.rejected_rows",
        "select email from warehouse.users",
        "select gender from mart.dim_users",
        "update ml.publications set reason = ''",
        "delete from ml.feedback",
        "update serving.api_keys set revoked_at = null",
        "insert into ml.alarms (metric) values ('x')",
    ],
    RECOMMENDER: [
        "select email from warehouse.users",
        "select gender from mart.dim_users",
        "select raw_json from ops.rejected_rows",
        "select * from serving.api_keys",
        "insert into warehouse.tracks (id) values (1)",
        "update warehouse.listen_history set removed_at = '2024-05-01'",
        "delete from mart.user_track_plays",
        "update ops.batches set status = 'published'",
        "update ml.feedback set useful = true",
        "drop table warehouse.listen_history",
        "alter table mart.user_track_plays add column extra integer",
        "create table warehouse.new_table ()",
    ],
    INGEST: [
        "select * from ml.feedback",
        "select * from ml.recommendations",
        "select * from serving.api_keys",
        "select reason from ml.publications",
        "select raw_json from ops.rejected_rows",
        "select * from ops.erasures",
        "update ml.publications set status = 'staged'",
        "insert into ml.alarms (metric) values ('x')",
        "delete from warehouse.users",
        "drop table ml.recommendations",
        "drop table ml.alarms",
        "drop schema warehouse cascade",
        "alter table warehouse.users disable trigger all",
        "create table ml.new_table ()",
    ],
}

FORBIDDEN[STREAM] = [
    "select email from warehouse.users",
    "select gender from mart.dim_users",
    "select raw_json from ops.rejected_rows",
    "select * from serving.api_keys",
    "update ops.batches set status = 'published'",
    "delete from ops.rejected_rows",
    "delete from stream.offsets",
    "delete from ml.recommendations",
    "insert into ml.live_publications (publication_id, live_from, why) values (1, '2024-05-01', '')",
    "create table stream.new_table ()",
]

_SCHEMAS = """
select schema.nspname, role, string_agg(lower(privilege), ', ' order by number)
from pg_namespace as schema
cross join unnest(%(roles)s::text[]) as role
cross join unnest(array['USAGE', 'CREATE']) with ordinality as privileges (privilege, number)
where schema.nspname !~ '^pg_|^public$|^information_schema$' and has_schema_privilege(role, schema.oid, privilege)
group by 1, 2
"""
# Partitions and staging tables are excluded: they are temporary, and only the role that creates them owns them.
_COLUMNS = """
with column_privileges as (
    select
        schema.nspname || '.' || relation.relname as name,
        relation.oid,
        relation.relowner,
        role,
        privilege,
        number,
        attribute.attname::text as "column",
        attribute.attnum as position,
        case when number <= 4 then has_column_privilege(role, relation.oid, attribute.attnum, privilege) end as allowed
    from pg_class as relation
    join pg_namespace as schema on schema.oid = relation.relnamespace
    join pg_attribute as attribute
        on attribute.attrelid = relation.oid and attribute.attnum > 0 and not attribute.attisdropped
    cross join unnest(%(roles)s::text[]) as role
    cross join unnest(array['SELECT', 'INSERT', 'UPDATE', 'REFERENCES', 'DELETE', 'TRUNCATE', 'TRIGGER'])
        with ordinality as all_of (privilege, number)
    where schema.nspname !~ '^pg_|^public$|^information_schema$|^staging$'
        and relation.relkind in ('r', 'p', 'v', 'm', 'f')
        and not relation.relispartition
)

select
    name,
    role,
    pg_get_userbyid(relowner) = role,
    lower(privilege),
    has_table_privilege(role, oid, privilege),
    array_agg("column" order by position) filter (where allowed),
    array_agg("column" order by position) filter (where not allowed)
from column_privileges
group by name, oid, relowner, role, privilege, number
order by name, array_position(%(roles)s::text[], role), number
"""
_PREFIX = "moovitamix_"


def rights_of_schemas(connection: Connection) -> Rights:
    """For each schema of the project, the privileges of each role."""
    rights: Rights = {}
    for schema, role, text in connection.execute(_SCHEMAS, {"roles": list(ROLES)}):
        rights.setdefault(schema, {})[role.removeprefix(_PREFIX)] = text
    return rights


def rights_of_relations(connection: Connection) -> Rights:
    """For each table and view of the project, the privileges of each role on the relation or on some columns."""
    rights: dict[str, dict[str, list[str]]] = {}
    for name, role, owned, privilege, on_relation, columns, without in connection.execute(
        _COLUMNS, {"roles": list(ROLES)}
    ):
        privileges = rights.setdefault(name, {}).setdefault(role.removeprefix(_PREFIX), [])
        if owned:
            privileges[:] = ["owner"]
        elif on_relation:
            privileges.append(privilege)
        elif columns:
            privileges.append(f"{privilege} {_column_list(columns, without)}")
    return {
        name: {role: ", ".join(privileges) for role, privileges in roles.items() if privileges}
        for name, roles in rights.items()
    }


def _column_list(columns: list[str], without: list[str]) -> str:
    """The shorter of the two ways to name the columns."""
    return f"({', '.join(columns)})" if len(columns) <= len(without) else f"all but ({', '.join(without)})"


def columns_of_relations(connection: Connection) -> dict[str, str]:
    """The columns of each table and view of the project."""
    rows: list[Any] = connection.execute(
        "select table_schema || '.' || table_name, string_agg(column_name, ', ' order by ordinal_position)"
        " from information_schema.columns join pg_class on oid = format('%%I.%%I', table_schema, table_name)::regclass"
        " where table_schema = any(%s) and not relispartition group by 1 order by 1",
        [["ops", "warehouse", "mart", "ml", "serving", "stream"]],
    ).fetchall()
    return dict(rows)
