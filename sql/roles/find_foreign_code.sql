-- One row per object in our schemas that no migration created and that could run code as the user of a table. A role that
-- creates tables could add a trigger, rule, policy or function. It would run with the owner's rights when the owner
-- deletes, counts or restores rows. Functions in temporary schemas are included: an index or a cast may call them. Views of
-- the owner are left out.
with our_schemas as (
    select oid, nspname ~ '^pg_temp_' as temporary
    from pg_namespace
    where nspname in ('ops', 'staging', 'warehouse', 'mart', 'ml', 'serving', 'stream') or nspname ~ '^pg_temp_'
),

relations as (
    select relation.oid, relation.relkind, relation.relowner
    from pg_class as relation
    join our_schemas on our_schemas.oid = relation.relnamespace and not our_schemas.temporary
),

owner as (
    select relation.relowner
    from pg_class as relation
    join pg_namespace as schema on schema.oid = relation.relnamespace
    where schema.nspname = 'ops' and relation.relname = 'schema_version'
),

foreign_objects as (
    -- functions, operators, types, statistics and other objects of a schema
    select classid, objid
    from pg_depend
    where refclassid = 'pg_namespace'::regclass
        and refobjid in (select oid from our_schemas)
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
    -- a check that calls a function, which a restore would call too
    select 'pg_constraint'::regclass, oid
    from pg_constraint
    where conrelid in (select oid from relations) and contype = 'c' and conbin::text ~ 'FUNCEXPR'
    union all
    -- a column whose type is a table, as a cast of it calls a function
    select 'pg_class'::regclass, attribute.attrelid
    from pg_attribute as attribute
    join relations on relations.oid = attribute.attrelid and relations.relkind in ('r', 'p')
    join pg_type as type on type.oid = attribute.atttypid
    where attribute.attnum > 0 and not attribute.attisdropped and type.typnamespace in (select oid from our_schemas)
)

select distinct pg_describe_object(classid, objid, 0) as name
from foreign_objects
order by name;
