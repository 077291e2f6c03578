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
order by 1, 2
