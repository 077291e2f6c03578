-- One row per table in our schemas that this login may not erase from: its name, and the login that it belongs to.
select schema.nspname || '.' || part.relname, pg_get_userbyid(part.relowner)::text
from pg_class as part
join pg_namespace as schema on schema.oid = part.relnamespace
where part.relkind in ('r', 'p')
    and schema.nspname in ('staging', 'warehouse', 'mart', 'ml', 'ops', 'serving')
    and not pg_has_role(part.relowner, 'usage')
order by 1
