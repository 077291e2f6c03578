-- The tables of ours that belong to roles, held until the transaction ends: nobody can hang a trigger, rule, policy or
-- index on them meanwhile, nor write to them. Reading goes on.
do $$
declare
    one regclass;
begin
    for one in
        select part.oid::regclass
        from pg_class as part
        join pg_namespace as schema on schema.oid = part.relnamespace
        where part.relkind in ('r', 'p')
            and schema.nspname in ('staging', 'warehouse', 'mart', 'ml', 'ops', 'serving')
            and part.relowner <> (select oid from pg_roles where rolname = current_user)
        order by part.oid
    loop
        execute 'lock table only ' || one || ' in share row exclusive mode';
    end loop;
end
$$
