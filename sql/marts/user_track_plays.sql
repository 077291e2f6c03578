-- name: drop_primary_key
-- For the first load. A table truncated in this transaction can be loaded without the write-ahead log.
truncate mart.user_track_plays;
alter table mart.user_track_plays drop constraint user_track_plays_pkey;

-- name: insert_new_plays
-- Inserts one row per user and track of the new sessions into an empty table without a key. The rows of a user are stored
-- together. Sessions are sorted by user first, so that plays need no sort beyond one user.
insert into mart.user_track_plays (user_id, track_id, plays, first_played_at, last_played_at)
select user_id, track_id, count(*), min(created_at), max(created_at)
from (
    select user_id, created_at, unnest(items) as track_id from {staged} where is_new order by user_id
) as play
group by user_id, track_id
order by user_id, track_id;

-- name: add_primary_key
-- Adds the key after all rows are loaded.
alter table mart.user_track_plays add constraint user_track_plays_pkey primary key (user_id, track_id);

-- name: add_plays
-- Adds the plays of new and changed sessions to the counts of each user and track.
insert into mart.user_track_plays as counted (user_id, track_id, plays, first_played_at, last_played_at)
select user_id, track_id, sum(added), min(first_added_at), max(last_added_at)
from (
    select
        session.user_id,
        play.track_id,
        count(*) as added,
        min(session.created_at) as first_added_at,
        max(session.created_at) as last_added_at
    from {staged} as session
    cross join lateral unnest(session.items) as play (track_id)
    where session.is_new
    group by session.user_id, play.track_id
    union all
    select user_id, track_id, added, first_added_at, last_added_at
    from play_changes
    where added > 0
) as additions
group by user_id, track_id
order by user_id, track_id
on conflict (user_id, track_id) do update set
    plays = counted.plays + excluded.plays,
    first_played_at = least(counted.first_played_at, excluded.first_played_at),
    last_played_at = greatest(counted.last_played_at, excluded.last_played_at);

-- name: subtract_plays
-- Subtracts dropped plays from the counts of each user and track.
update mart.user_track_plays as counted
set plays = counted.plays - change.dropped
from play_changes as change
where counted.user_id = change.user_id and counted.track_id = change.track_id and change.dropped > 0;

-- name: delete_unplayed_tracks
-- Deletes each user and track without plays.
delete from mart.user_track_plays as counted
using play_changes as change
where counted.user_id = change.user_id and counted.track_id = change.track_id
    and change.dropped > 0 and counted.plays = 0;
