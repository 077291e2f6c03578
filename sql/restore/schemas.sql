-- name: begin_step
-- Runs first in each transaction of a restore. Until end_step, the schemas being restored have the names in the backup,
-- and the live schemas have other names. Other sessions see none of this, because end_step runs before the commit.
do $$
declare
    schema text;
begin
    foreach schema in array array['ops', 'staging', 'warehouse', 'mart', 'ml', 'serving', 'stream']
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
-- Runs last in each transaction of a restore: restores the names that begin_step changed.
do $$
declare
    schema text;
begin
    foreach schema in array array['ops', 'staging', 'warehouse', 'mart', 'ml', 'serving', 'stream']
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
-- Makes the restored schemas the live ones, in one short transaction that touches no table. The replaced schemas stay
-- beside them. At least one stays, also if none was replaced: it marks that the restore has not ended yet.
do $$
declare
    schema text;
begin
    foreach schema in array array['ops', 'staging', 'warehouse', 'mart', 'ml', 'serving', 'stream']
    loop
        if to_regnamespace(schema) is not null then
            execute format('alter schema %I rename to %I', schema, 'moovitamix_replaced_' || schema);
        end if;
        if to_regnamespace('moovitamix_restoring_' || schema) is not null then
            execute format('alter schema %I rename to %I', 'moovitamix_restoring_' || schema, schema);
        end if;
    end loop;
    create schema if not exists moovitamix_replaced_ops;
end
$$;
