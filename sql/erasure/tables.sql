-- name: lock_tables
-- The tables of ours that belong to roles, held until the transaction ends: nobody can hang a trigger, rule, policy or
-- index on them meanwhile, nor write to them. Reading goes on.
do $$
declare
    one regclass;
begin
    for one in
        select part.oid::regclass
        from pg_class as part
        join pg_namespace as schema on schema.oid = part.relnamespace
        where part.relkind in ('r', 'p')
            and schema.nspname in ('staging', 'warehouse', 'mart', 'ml', 'ops', 'serving')
            and part.relowner <> (select oid from pg_roles where rolname = current_user)
        order by part.oid
    loop
        execute 'lock table only ' || one || ' in share row exclusive mode';
    end loop;
end
$$;

-- name: find_tables_with_user_rows
-- One row per table of ours that holds rows of listeners, but warehouse.users: its schema and name, the column with their
-- id, and the table or partitioned table that it is told as. Partitions come one by one, also those left detached.
select
    schema.nspname::text,
    part.relname::text,
    attribute.attname::text,
    case when schema.nspname = 'staging' then 'staging' else root_schema.nspname || '.' || root.relname end
from pg_class as part
join pg_namespace as schema on schema.oid = part.relnamespace
join pg_attribute as attribute on attribute.attrelid = part.oid and attribute.attnum > 0 and not attribute.attisdropped
join pg_class as root on root.oid = coalesce(pg_partition_root(part.oid), part.oid::regclass)
join pg_namespace as root_schema on root_schema.oid = root.relnamespace
where part.relkind = 'r'
    and schema.nspname in ('staging', 'warehouse', 'mart', 'ml', 'ops', 'serving')
    and (
        attribute.attname = 'user_id'
        or (attribute.attname = 'id' and schema.nspname = 'staging' and part.relname ~ '^users_')
    )
order by 1, 2;

-- name: find_tables_without_rights
-- One row per table in our schemas that this login may not erase from: its name, and the login that it belongs to.
select schema.nspname || '.' || part.relname, pg_get_userbyid(part.relowner)::text
from pg_class as part
join pg_namespace as schema on schema.oid = part.relnamespace
where part.relkind in ('r', 'p')
    and schema.nspname in ('staging', 'warehouse', 'mart', 'ml', 'ops', 'serving')
    and not pg_has_role(part.relowner, 'usage')
order by 1;
