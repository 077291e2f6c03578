-- Ingest and recommender own the tables that they add partitions and keys to: Postgres lets nobody else do that, and a
-- partition cannot be detached concurrently in a function (docs/adr/0017-roles-own-what-they-alter.md). By name, so
-- that a restore finds them too. Running it again changes nothing.
do $$
declare
    one record;
begin
    for one in
        select decided.relation, decided.role
        from (
            select
                part.oid::regclass as relation,
                part.relowner,
                case
                    when schema.nspname = 'warehouse' and part.relname ~ '^listen_history' then 'moovitamix_ingest'
                    when schema.nspname = 'mart' and part.relname = 'user_track_plays' then 'moovitamix_ingest'
                    when schema.nspname in ('ml', 'staging') and part.relname ~ '^(recommendations|similar_tracks)(_[0-9]+(_profile)?)?$'
                        then 'moovitamix_recommender'
                    when schema.nspname = 'staging' then 'moovitamix_ingest'
                end as role
            from pg_class as part
            join pg_namespace as schema on schema.oid = part.relnamespace
            where part.relkind in ('r', 'p')
        ) as decided
        where decided.role is not null and decided.relowner <> decided.role::regrole
    loop
        execute 'alter table ' || one.relation || ' owner to ' || one.role;
    end loop;
end
$$;
