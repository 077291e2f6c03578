-- name: create_recommendations
-- One row per listener and rank: the partition of a publication before it is one, bare for a quick load.
create table {table} (
    publication_id bigint not null,
    user_id bigint not null,
    rank integer not null,
    track_id bigint not null,
    score double precision not null
);

-- name: create_similar_tracks
-- One row per track and rank: the partition of a publication before it is one, bare for a quick load.
create table {table} (
    publication_id bigint not null,
    track_id bigint not null,
    rank integer not null,
    similar_track_id bigint not null,
    score double precision not null
);

-- name: create_profile
-- One row: the lists as a whole, for the expectations that judge them so. Shares are of 1; coverage is that of the
-- tracks which so many rows could show, and null where lists are meant to be alike.
create unlogged table {table} as
with covered as (
    select count(*) as tracks from (select distinct track_id from {lists}) as named
),
offered as (
    select count(*) as tracks from mart.dim_tracks where removed_at is null
)
select
    %(per_user)s::integer as per_user,
    %(excludes_played)s::boolean as excludes_played,
    %(personal)s::boolean as personal,
    (select count(*) from mart.dim_users where removed_at is null) as listeners,
    (select tracks from offered) as tracks_offered,
    count(*) as rows_listed,
    count(*) filter (where rank = 1) as listeners_listed,
    (select tracks from covered) as tracks_covered,
    case when %(personal)s::boolean then
        (select tracks from covered)::double precision / nullif(least(count(*), (select tracks from offered)), 0)
    end as coverage
from {lists};

-- name: add_primary_key
-- The key of a partition, before it is one: one row per publication, listener or track, and rank.
alter table {staged} add primary key ({key}), add constraint {belongs} check (publication_id = {number});

-- name: move_to_ml
-- From where lists are judged to where they are read.
alter table {staged} set schema ml;

-- name: attach_partition
-- One publication more; the check on the table saves Postgres a scan.
alter table {parent} attach partition {table} for values in ({number});

-- name: drop_check
-- The check has done its work.
alter table {table} drop constraint {belongs};

-- name: is_attached
-- One row: whether both tables of a publication are partitions.
select count(*) = 2
from pg_inherits
where inhrelid in (to_regclass(%(lists)s), to_regclass(%(similar)s)) and not inhdetachpending;

-- name: find_readers
-- One row per transaction of others that has begun to read lists.
select distinct virtualtransaction
from pg_locks
where relation in ('ml.recommendations'::regclass, 'ml.similar_tracks'::regclass)
    and database = (select oid from pg_database where datname = current_database())
    and pid <> pg_backend_pid();

-- name: find_attachment
-- At most one row: whether a partition that is still attached was left half detached by a crash.
select inhdetachpending from pg_inherits where inhrelid = to_regclass(%(table)s);

-- name: detach_partition
-- One publication less, without a lock that readers of others would wait for.
alter table {parent} detach partition {table} concurrently;

-- name: finish_detaching
-- What a detaching that was cut off left to do.
alter table {parent} detach partition {table} finalize;
