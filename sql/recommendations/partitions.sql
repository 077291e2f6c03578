-- name: create_recommendations
-- A future partition with one row per user and rank. It has no index, so that it loads quickly.
create table {table} (
    publication_id bigint not null,
    user_id bigint not null,
    rank integer not null,
    track_id bigint not null,
    score double precision not null,
    because_track_id bigint
);

-- name: create_similar_tracks
-- A future partition with one row per track and rank. It has no index, so that it loads quickly.
create table {table} (
    publication_id bigint not null,
    track_id bigint not null,
    rank integer not null,
    similar_track_id bigint not null,
    score double precision not null
);

-- name: create_profile
-- One row about all recommendations of a publication, for expectations about the whole. Shares are from 0 to 1. `coverage`
-- is the number of recommended tracks divided by the largest possible number: of all tracks, or of rows if there are fewer.
-- It is null if all lists are meant to be alike.
create unlogged table {table} as
with covered as (
    select count(*) as tracks from (select distinct track_id from {lists}) as recommended
),
available as (
    select count(*) as tracks from mart.dim_tracks where removed_at is null
)
select
    %(per_user)s::integer as per_user,
    %(excludes_played)s::boolean as excludes_played,
    %(personal)s::boolean as personal,
    (select count(*) from mart.dim_users where removed_at is null) as users,
    (select tracks from available) as tracks_offered,
    count(*) as rows_listed,
    count(*) filter (where rank = 1) as users_listed,
    (select tracks from covered) as tracks_covered,
    case when %(personal)s::boolean then
        (select tracks from covered)::double precision / nullif(least(count(*), (select tracks from available)), 0)
    end as coverage
from {lists};

-- name: add_primary_key
-- Adds the key and the check of the publication to a future partition.
alter table {staged} add primary key ({key}), add constraint {constraint} check (publication_id = {number});

-- name: move_to_ml
-- Moves an audited table from `staging` to `ml`.
alter table {staged} set schema ml;

-- name: attach_partition
-- Attaches a publication. The check on the table saves Postgres a scan.
alter table {parent} attach partition {table} for values in ({number});

-- name: drop_check
-- Drops the check, which is needed only while attaching.
alter table {table} drop constraint {constraint};

-- name: is_attached
-- One row: whether both tables of a publication are partitions.
select count(*) = 2
from pg_inherits
where inhrelid in (to_regclass(%(lists)s), to_regclass(%(similar)s)) and not inhdetachpending;

-- name: find_readers
-- One row per transaction of another session that reads recommendations.
select distinct virtualtransaction
from pg_locks
where relation in ('ml.recommendations'::regclass, 'ml.similar_tracks'::regclass)
    and database = (select oid from pg_database where datname = current_database())
    and pid <> pg_backend_pid();

-- name: find_attachment
-- Whether a partition was left half detached by a crash. No row if it is not attached.
select inhdetachpending from pg_inherits where inhrelid = to_regclass(%(table)s);

-- name: detach_partition
-- Detaches a publication without a lock that blocks readers of other publications.
alter table {parent} detach partition {table} concurrently;

-- name: finish_detaching
-- Completes a detach that was interrupted.
alter table {parent} detach partition {table} finalize;
