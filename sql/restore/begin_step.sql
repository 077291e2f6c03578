-- First in each transaction of a restore. Until end_step.sql, the schemas being restored have the names that the backup
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
