-- One row per table of these schemas, partitions first: few enough to drop in one transaction. Nothing that an extension
-- owns: that goes with its schema.
select schema.nspname, part.relname
from pg_class as part
join pg_namespace as schema on schema.oid = part.relnamespace
where schema.nspname = any(%(schemas)s)
    and part.relkind in ('r', 'p')
    and not exists (
        select from pg_depend where classid = 'pg_class'::regclass and objid = part.oid and deptype = 'e'
    )
order by part.relispartition desc, part.oid desc
limit %(at_once)s
