-- One row per thing in our schemas that no migration made and that runs as whoever touches the table it hangs on: a
-- trigger, rule, policy or function of a role that may make tables would run with the owner's rights when the owner
-- deletes, counts or restores its rows. Functions of temporary schemas too: an index or a cast may call them. Views of
-- the owner are the owner's business.
with ours as (
    select oid, nspname ~ '^pg_temp_' as temporary
    from pg_namespace
    where nspname in ('ops', 'staging', 'warehouse', 'mart', 'ml', 'serving') or nspname ~ '^pg_temp_'
),

relations as (
    select part.oid, part.relkind, part.relowner
    from pg_class as part
    join ours on ours.oid = part.relnamespace and not ours.temporary
),

owner as (
    select part.relowner
    from pg_class as part
    join pg_namespace as schema on schema.oid = part.relnamespace
    where schema.nspname = 'ops' and part.relname = 'schema_version'
),

found as (
    -- functions, operators, types, statistics and whatever else stands in a schema itself
    select classid, objid
    from pg_depend
    where refclassid = 'pg_namespace'::regclass
        and refobjid in (select oid from ours)
        and classid not in ('pg_class'::regclass, 'pg_default_acl'::regclass, 'pg_publication_namespace'::regclass)
    union all
    select 'pg_class'::regclass, oid
    from relations
    where relkind not in ('r', 'p', 'i', 'I', 'S')
        and not (relkind in ('v', 'm') and relowner = (select owner.relowner from owner))
    union all
    select 'pg_trigger'::regclass, oid
    from pg_trigger
    where tgrelid in (select oid from relations) and not tgisinternal
    union all
    select 'pg_rewrite'::regclass, oid
    from pg_rewrite
    where ev_class in (select oid from relations) and rulename <> '_RETURN'
    union all
    select 'pg_policy'::regclass, oid
    from pg_policy
    where polrelid in (select oid from relations)
    union all
    -- a check that calls a function: a restore would call it too
    select 'pg_constraint'::regclass, oid
    from pg_constraint
    where conrelid in (select oid from relations) and contype = 'c' and conbin::text ~ 'FUNCEXPR'
    union all
    -- a column of the type of another table: a cast of it calls a function
    select 'pg_class'::regclass, attribute.attrelid
    from pg_attribute as attribute
    join relations on relations.oid = attribute.attrelid and relations.relkind in ('r', 'p')
    join pg_type as type on type.oid = attribute.atttypid
    where attribute.attnum > 0 and not attribute.attisdropped and type.typnamespace in (select oid from ours)
)

select distinct pg_describe_object(classid, objid, 0) as name
from found
order by name;
