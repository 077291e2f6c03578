-- One row per user and track whose plays change because sessions changed or were removed: the number of added and
-- dropped plays, and their times.
create temporary table play_changes on commit drop as
with net_changes as (
    select user_id, track_id, created_at, sum(plays)::integer as plays
    from changed_plays
    group by id, user_id, track_id, created_at
    having sum(plays) <> 0
)

select
    user_id,
    track_id,
    coalesce(sum(plays) filter (where plays > 0), 0)::integer as added,
    coalesce(-sum(plays) filter (where plays < 0), 0)::integer as dropped,
    min(created_at) filter (where plays > 0) as first_added_at,
    max(created_at) filter (where plays > 0) as last_added_at,
    min(created_at) filter (where plays < 0) as first_dropped_at,
    max(created_at) filter (where plays < 0) as last_dropped_at
from net_changes
group by user_id, track_id;
