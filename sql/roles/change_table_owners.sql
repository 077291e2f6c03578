-- One statement per table that ingest or recommender alters and does not own yet. Postgres lets only the
-- owner add partitions and keys, and a partition cannot be detached concurrently in a function
-- (docs/adr/0017-roles-own-the-tables-they-alter.md). Tables are found by name, so that a restore finds them too.
select 'alter table ' || table_role.table_name || ' owner to ' || table_role.role as statement
from (
    select
        relation.oid::regclass as table_name,
        relation.relowner,
        case
            when schema.nspname = 'warehouse' and relation.relname ~ '^listen_history' then 'moovitamix_ingest'
            when schema.nspname = 'mart'
                and relation.relname ~ '^(user_days|daily_track_plays|user_track_plays(_[0-9]+_[0-9]+)?)$'
                then 'moovitamix_ingest'
            when schema.nspname in ('ml', 'staging') and relation.relname ~ '^(recommendations|similar_tracks)(_[0-9]+(_profile)?)?$'
                then 'moovitamix_recommender'
            when schema.nspname = 'staging' then 'moovitamix_ingest'
        end as role
    from pg_class as relation
    join pg_namespace as schema on schema.oid = relation.relnamespace
    where relation.relkind in ('r', 'p')
) as table_role
where table_role.role is not null and table_role.relowner <> table_role.role::regrole;
