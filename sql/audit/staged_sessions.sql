-- name: find_sessions_of_unknown_users
-- One row per staged session whose user was never published.
select user_id, created_at
from {batch}
where not exists (select from warehouse.users where users.id = user_id);

-- name: find_sessions_with_unknown_tracks
-- One row per staged session that plays a track never published, or no track at all.
select distinct user_id, created_at
from {batch}, unnest(items) as play (track_id)
where not exists (select from warehouse.tracks where tracks.id = track_id);

-- name: find_duplicate_sessions
-- One row per session (user and start) that is staged more than once.
select user_id, created_at from {batch} group by user_id, created_at having count(*) > 1;

-- name: find_sessions_without_plays
-- One row per staged session without plays.
select user_id, created_at from {batch} where cardinality(items) = 0;

-- name: find_oversized_sessions
-- One row per staged session with more plays than the limit.
select user_id, created_at from {batch} where cardinality(items) > {limit};

-- name: find_overactive_users
-- One row per user and day (UTC) with more staged sessions than the limit.
select user_id, date_trunc('day', created_at) as created_at
from {batch}
group by user_id, date_trunc('day', created_at)
having count(*) > {limit};
