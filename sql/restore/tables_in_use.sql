-- One row per live table that somebody may be reading or writing. Partitions are read and written through their parent,
-- and staging by whoever holds the warehouse lock. A table of a login whose rights we lack cannot be locked.
select schema.nspname, part.relname
from pg_class as part
join pg_namespace as schema on schema.oid = part.relnamespace
where schema.nspname in ('ops', 'warehouse', 'mart', 'ml', 'serving')
    and part.relkind in ('r', 'p')
    and not part.relispartition
    and pg_has_role(part.relowner, 'USAGE')
order by 1, 2
