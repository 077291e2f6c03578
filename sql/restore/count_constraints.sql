-- One row: how many keys and checks of our schemas hold for all rows. Those that a partition has of its parent are not
-- counted, as versions of Postgres keep different ones; nor is NOT NULL, which only newer versions keep as a constraint.
select count(*)
from pg_constraint as part
join pg_namespace as schema on schema.oid = part.connamespace
where schema.nspname in ('ops', 'warehouse', 'mart', 'ml', 'serving')
    and part.contype in ('p', 'u', 'f', 'c', 'x')
    and part.convalidated
    and part.conparentid = 0
