-- name: find_tables_in_use
-- One row per live table that another session may use. Other sessions use partitions through the parent table, and staging
-- tables only with the warehouse lock. A table is left out if this login lacks the rights of its owner and cannot lock it.
select schema.nspname, relation.relname
from pg_class as relation
join pg_namespace as schema on schema.oid = relation.relnamespace
where schema.nspname in ('ops', 'warehouse', 'mart', 'ml', 'serving', 'stream')
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
-- One row per table of these schemas, partitions first, limited to the number that one transaction can drop. Tables of an
-- extension are left out, because they are dropped with their schema.
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
-- One row: the number of validated key, check and exclusion constraints in our schemas. Constraints that a partition
-- inherits are left out, because Postgres versions store them differently. NOT NULL is left out too: only newer versions
-- store it as a constraint.
select count(*)
from pg_constraint as constraint_row
join pg_namespace as schema on schema.oid = constraint_row.connamespace
where schema.nspname in ('ops', 'warehouse', 'mart', 'ml', 'serving', 'stream')
    and constraint_row.contype in ('p', 'u', 'f', 'c', 'x')
    and constraint_row.convalidated
    and constraint_row.conparentid = 0;

-- name: find_invalid_indexes
-- One row per invalid index in our schemas. Its build did not finish, so Postgres does not use it.
select schema.nspname || '.' || relation.relname as name
from pg_index
join pg_class as relation on relation.oid = indexrelid
join pg_namespace as schema on schema.oid = relation.relnamespace
where schema.nspname in ('ops', 'warehouse', 'mart', 'ml', 'serving', 'stream') and not (indisvalid and indisready)
order by 1;
