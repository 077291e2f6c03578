-- name: find_tables_in_use
-- One row per live table that another session may use. Partitions are used through their parent, and staging only with the
-- warehouse lock. A table whose owner's rights we lack cannot be locked and is left out.
select schema.nspname, relation.relname
from pg_class as relation
join pg_namespace as schema on schema.oid = relation.relnamespace
where schema.nspname in ('ops', 'warehouse', 'mart', 'ml', 'serving')
    and relation.relkind in ('r', 'p')
    and not relation.relispartition
    and pg_has_role(relation.relowner, 'USAGE')
order by 1, 2;

-- name: find_tables_to_analyze
-- One row per restored table. Analyzing a parent also analyzes its partitions, each in a separate transaction.
select schema.nspname, relation.relname
from pg_class as relation
join pg_namespace as schema on schema.oid = relation.relnamespace
where schema.nspname ~ '^moovitamix_restoring_'
    and relation.relkind in ('r', 'p')
    and not relation.relispartition
order by 1, 2;

-- name: find_tables_to_drop
-- One row per table of these schemas, partitions first, few enough to drop in one transaction. Tables of an extension are
-- left out: they go with their schema.
select schema.nspname, relation.relname
from pg_class as relation
join pg_namespace as schema on schema.oid = relation.relnamespace
where schema.nspname = any(%(schemas)s)
    and relation.relkind in ('r', 'p')
    and not exists (
        select from pg_depend where classid = 'pg_class'::regclass and objid = relation.oid and deptype = 'e'
    )
order by relation.relispartition desc, relation.oid desc
limit %(at_once)s;

-- name: count_constraints
-- One row: the number of validated keys and checks in our schemas. Those that a partition inherits are left out, because
-- versions of Postgres store them differently. NOT NULL is left out too: only newer versions store it as a constraint.
select count(*)
from pg_constraint as constraint_row
join pg_namespace as schema on schema.oid = constraint_row.connamespace
where schema.nspname in ('ops', 'warehouse', 'mart', 'ml', 'serving')
    and constraint_row.contype in ('p', 'u', 'f', 'c', 'x')
    and constraint_row.convalidated
    and constraint_row.conparentid = 0;

-- name: find_invalid_indexes
-- One row per invalid index in our schemas: Postgres does not use it, because it was never completed.
select schema.nspname || '.' || relation.relname as name
from pg_index
join pg_class as relation on relation.oid = indexrelid
join pg_namespace as schema on schema.oid = relation.relnamespace
where schema.nspname in ('ops', 'warehouse', 'mart', 'ml', 'serving') and not (indisvalid and indisready)
order by 1;
