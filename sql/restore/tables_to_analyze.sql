-- One row per restored table. Analyzing a parent analyzes its partitions too, each in a transaction of its own.
select schema.nspname, part.relname
from pg_class as part
join pg_namespace as schema on schema.oid = part.relnamespace
where schema.nspname ~ '^moovitamix_restoring_'
    and part.relkind in ('r', 'p')
    and not part.relispartition
order by 1, 2
