-- name: create_snapshot
-- The rows that will be current after the batch.
create temporary table {snapshot} on commit drop as
select {columns}
from {published} as published
where removed_at is null
    and not exists (select from {batch} as staged where staged.id = published.id)
    and not exists (select from {removed} as removed where removed.id = published.id)
union all
select {columns} from {batch};

-- name: measure_tracks
-- One row: figures of the tracks that will be current after the batch.
select
    count(*)::double precision as rows,
    (select count(*) from {batch} where is_new)::double precision as new_rows,
    (select count(*) from {removed})::double precision as removed_rows,
    percentile_cont(0.5) within group (order by duration_seconds) as median_duration,
    percentile_cont(0.95) within group (order by duration_seconds) as long_duration,
    avg((btrim(artist) = '')::integer)::double precision as blank_artists
from track_snapshot;

-- name: count_track_genres
-- One row per genre of the tracks that will be current after the batch.
select 'genres' as figure, genres as part, count(*) as rows from track_snapshot group by genres;

-- name: measure_users
-- One row: figures of the users that will be current after the batch.
select
    count(*)::double precision as rows,
    (select count(*) from {batch} where is_new)::double precision as new_rows,
    (select count(*) from {removed})::double precision as removed_rows
from user_snapshot;

-- name: count_user_parts
-- One row per gender, and one per favourite genre, of the users that will be current after the batch.
select 'genders' as figure, gender as part, count(*) as rows from user_snapshot group by gender
union all
select 'favorite_genres', favorite_genres, count(*) from user_snapshot group by favorite_genres;

-- name: create_day_sessions
-- The sessions that started on the last whole day (UTC) and will be current after the batch, with their plays.
create temporary table day_sessions on commit drop as
select published.user_id, published.created_at, played.items
from warehouse.listen_history as published
cross join lateral (
    select coalesce(array_agg(play.track_id order by play.position), '{{}}') as items
    from warehouse.listen_history_tracks as play
    where play.listen_history_id = published.id and play.created_at = published.created_at
) as played
where published.created_at >= %(start)s and published.created_at < %(stop)s
    and published.removed_at is null
    and not exists (
        select from {batch} as staged
        where staged.user_id = published.user_id and staged.created_at = published.created_at
    )
    and not exists (
        select from {removed} as removed
        where removed.user_id = published.user_id and removed.created_at = published.created_at
    )
union all
select user_id, created_at, items
from {batch}
where created_at >= %(start)s and created_at < %(stop)s;

-- name: measure_day_sessions
-- One row: figures of the sessions of the last whole day. A session repeats another session if its user and plays are the
-- same. Null if there are none.
select
    count(*)::double precision as sessions,
    sum(cardinality(items))::double precision / nullif(count(*), 0) as plays_per_session,
    count(*)::double precision / nullif(count(distinct user_id), 0) as sessions_per_user,
    1 - count(distinct (user_id, items))::double precision / nullif(count(*), 0) as repeated_sessions
from day_sessions;

-- name: count_day_parts
-- One row per hour (UTC), range of user ids, favourite genre of the users, and genre of the plays, of the sessions of the
-- last whole day. There are 16 ranges of user ids of equal width.
with active as (
    select distinct user_id from day_sessions
)
select 'hours' as figure, extract(hour from created_at at time zone 'UTC')::text as part, count(*) as rows
from day_sessions
group by part
union all
select 'user_ids', width_bucket(user_id::double precision, 0, 1 + (select max(id) from warehouse.users), 16)::text, count(*)
from active
group by 2
union all
select 'favorite_genres', known_user.favorite_genres, count(*)
from active
join warehouse.users as known_user on known_user.id = active.user_id
group by 2
union all
select 'played_genres', track.genres, count(*)
from day_sessions as listened
cross join unnest(listened.items) as item (track_id)
join warehouse.tracks as track on track.id = item.track_id
group by 2;
