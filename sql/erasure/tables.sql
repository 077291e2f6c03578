-- name: lock_tables
-- Locks the tables that roles own until the transaction ends. Nobody can write to them or add a trigger, rule, policy or
-- index. Reading continues.
do $$
declare
    table_name regclass;
begin
    for table_name in
        select relation.oid::regclass
        from pg_class as relation
        join pg_namespace as schema on schema.oid = relation.relnamespace
        where relation.relkind in ('r', 'p')
            and schema.nspname in ('staging', 'warehouse', 'mart', 'ml', 'ops', 'serving', 'stream')
            and relation.relowner <> (select oid from pg_roles where rolname = current_user)
        order by relation.oid
    loop
        execute 'lock table only ' || table_name || ' in share row exclusive mode';
    end loop;
end
$$;

-- name: find_tables_with_user_rows
-- One row per table with rows of users, without warehouse.users: its schema, its name, the column with the user id, and
-- the name that reports use. A partition is reported by the name of its parent. Each partition has a row, also a detached
-- partition.
select
    schema.nspname::text,
    relation.relname::text,
    attribute.attname::text,
    case when schema.nspname = 'staging' then 'staging' else root_schema.nspname || '.' || root.relname end
from pg_class as relation
join pg_namespace as schema on schema.oid = relation.relnamespace
join pg_attribute as attribute on attribute.attrelid = relation.oid and attribute.attnum > 0 and not attribute.attisdropped
join pg_class as root on root.oid = coalesce(pg_partition_root(relation.oid), relation.oid::regclass)
join pg_namespace as root_schema on root_schema.oid = root.relnamespace
where relation.relkind = 'r'
    and schema.nspname in ('staging', 'warehouse', 'mart', 'ml', 'ops', 'serving', 'stream')
    and (
        attribute.attname = 'user_id'
        or (attribute.attname = 'id' and schema.nspname = 'staging' and relation.relname ~ '^users_')
    )
order by 1, 2;

-- name: find_tables_without_rights
-- One row per table in our schemas from which this login may not erase: its name and its owner.
select schema.nspname || '.' || relation.relname, pg_get_userbyid(relation.relowner)::text
from pg_class as relation
join pg_namespace as schema on schema.oid = relation.relnamespace
where relation.relkind in ('r', 'p')
    and schema.nspname in ('staging', 'warehouse', 'mart', 'ml', 'ops', 'serving', 'stream')
    and not pg_has_role(relation.relowner, 'usage')
order by 1;
