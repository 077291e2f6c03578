-- name: begin_step
-- First in each transaction of a restore. Until end_step, the schemas being restored have the names that the backup
-- uses, and the live ones are out of the way. Nobody else sees this: the names are changed back before the commit.
do $$
declare
    schema text;
begin
    foreach schema in array array['ops', 'staging', 'warehouse', 'mart', 'ml', 'serving']
    loop
        if to_regnamespace(schema) is not null then
            execute format('alter schema %I rename to %I', schema, 'moovitamix_live_' || schema);
        end if;
        if to_regnamespace('moovitamix_restoring_' || schema) is not null then
            execute format('alter schema %I rename to %I', 'moovitamix_restoring_' || schema, schema);
        end if;
    end loop;
end
$$;

-- name: end_step
-- Last in each transaction of a restore: gives back the names that begin_step changed.
do $$
declare
    schema text;
begin
    foreach schema in array array['ops', 'staging', 'warehouse', 'mart', 'ml', 'serving']
    loop
        if to_regnamespace(schema) is not null then
            execute format('alter schema %I rename to %I', schema, 'moovitamix_restoring_' || schema);
        end if;
        if to_regnamespace('moovitamix_live_' || schema) is not null then
            execute format('alter schema %I rename to %I', 'moovitamix_live_' || schema, schema);
        end if;
    end loop;
end
$$;

-- name: swap_schemas
-- The restored schemas become the live ones, in one short transaction that touches no table. The schemas they replace
-- stay beside them. At least one is left, also where none was replaced: it says that the restore has not ended yet.
do $$
declare
    schema text;
begin
    foreach schema in array array['ops', 'staging', 'warehouse', 'mart', 'ml', 'serving']
    loop
        if to_regnamespace(schema) is not null then
            execute format('alter schema %I rename to %I', schema, 'moovitamix_replaced_' || schema);
        end if;
        execute format('alter schema %I rename to %I', 'moovitamix_restoring_' || schema, schema);
    end loop;
    create schema if not exists moovitamix_replaced_ops;
end
$$;
