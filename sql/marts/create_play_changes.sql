-- One row per user and track whose plays change because sessions changed or were removed: the number of added and
-- dropped plays, and their times. Run this before the sessions themselves change.
create temporary table play_changes on commit drop as
with changed_plays as (
    select session.id, session.user_id, session.created_at, play.track_id, -1 as plays
    from (
        select id, user_id, created_at from changed_sessions where was_live
        union all
        select id, user_id, created_at from removed_sessions
    ) as session
    cross join lateral (
        select track_id
        from warehouse.listen_history_tracks as published
        where published.listen_history_id = session.id and published.created_at = session.created_at
        offset 0
    ) as play
    union all
    select session.id, session.user_id, session.created_at, play.track_id, 1
    from changed_sessions as session
    cross join lateral unnest(session.items) as play (track_id)
),

net_changes as (
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
