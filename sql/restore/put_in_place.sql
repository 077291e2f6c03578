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
