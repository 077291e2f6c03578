-- Last in each transaction of a restore: gives back the names that begin_step.sql changed.
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
