-- One row per user and track that lost its first or last play and has others: dated by those that are left.
with redated as (
    select counted.user_id, counted.track_id
    from play_changes as change
    join mart.user_track_plays as counted using (user_id, track_id)
    where change.dropped > 0
        and (change.first_dropped_at <= counted.first_played_at or change.last_dropped_at >= counted.last_played_at)
),

played as materialized (
    select listener.user_id, session.created_at, play.track_id
    from (select distinct user_id from redated) as listener
    cross join lateral (
        select id, created_at
        from warehouse.listen_history as published
        where published.user_id = listener.user_id and published.removed_at is null
        offset 0
    ) as session
    cross join lateral (
        select track_id
        from warehouse.listen_history_tracks as published
        where published.listen_history_id = session.id and published.created_at = session.created_at
        offset 0
    ) as play
),

dates as (
    select user_id, track_id, min(created_at) as first_at, max(created_at) as last_at
    from redated
    join played using (user_id, track_id)
    group by user_id, track_id
)

update mart.user_track_plays as counted
set first_played_at = dates.first_at, last_played_at = dates.last_at
from dates
where counted.user_id = dates.user_id and counted.track_id = dates.track_id
