-- One row per index of our schemas that Postgres does not use, as it was never completed.
select schema.nspname || '.' || part.relname as name
from pg_index
join pg_class as part on part.oid = indexrelid
join pg_namespace as schema on schema.oid = part.relnamespace
where schema.nspname in ('ops', 'warehouse', 'mart', 'ml', 'serving') and not (indisvalid and indisready)
order by 1
