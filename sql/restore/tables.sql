-- name: find_tables_in_use
-- One row per live table that somebody may be reading or writing. Partitions are read and written through their parent,
-- and staging by whoever holds the warehouse lock. A table of a login whose rights we lack cannot be locked.
select schema.nspname, part.relname
from pg_class as part
join pg_namespace as schema on schema.oid = part.relnamespace
where schema.nspname in ('ops', 'warehouse', 'mart', 'ml', 'serving')
    and part.relkind in ('r', 'p')
    and not part.relispartition
    and pg_has_role(part.relowner, 'USAGE')
order by 1, 2;

-- name: find_tables_to_analyze
-- One row per restored table. Analyzing a parent analyzes its partitions too, each in a transaction of its own.
select schema.nspname, part.relname
from pg_class as part
join pg_namespace as schema on schema.oid = part.relnamespace
where schema.nspname ~ '^moovitamix_restoring_'
    and part.relkind in ('r', 'p')
    and not part.relispartition
order by 1, 2;

-- name: find_tables_to_drop
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
limit %(at_once)s;

-- name: count_constraints
-- One row: how many keys and checks of our schemas hold for all rows. Those that a partition has of its parent are not
-- counted, as versions of Postgres keep different ones; nor is NOT NULL, which only newer versions keep as a constraint.
select count(*)
from pg_constraint as part
join pg_namespace as schema on schema.oid = part.connamespace
where schema.nspname in ('ops', 'warehouse', 'mart', 'ml', 'serving')
    and part.contype in ('p', 'u', 'f', 'c', 'x')
    and part.convalidated
    and part.conparentid = 0;

-- name: find_invalid_indexes
-- One row per index of our schemas that Postgres does not use, as it was never completed.
select schema.nspname || '.' || part.relname as name
from pg_index
join pg_class as part on part.oid = indexrelid
join pg_namespace as schema on schema.oid = part.relnamespace
where schema.nspname in ('ops', 'warehouse', 'mart', 'ml', 'serving') and not (indisvalid and indisready)
order by 1;
