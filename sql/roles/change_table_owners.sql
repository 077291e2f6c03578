-- One row per table that is not of the role that adds partitions and keys to it: ingest or recommender. Postgres lets
-- nobody but the owner do that, and a partition cannot be detached concurrently in a function
-- (docs/adr/0017-roles-own-the-tables-they-alter.md). By name, so that a restore finds them too.
select 'alter table ' || decided.relation || ' owner to ' || decided.role as statement
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
where decided.role is not null and decided.relowner <> decided.role::regrole;
