-- One row per user and track that lost its first or last play and has others: dated by those that are left.
create temporary table redated on commit drop as
select counted.user_id, counted.track_id
from play_changes as change
join mart.user_track_plays as counted using (user_id, track_id)
where change.dropped > 0
    and (change.first_dropped_at <= counted.first_played_at or change.last_dropped_at >= counted.last_played_at);

create temporary table redated_sessions on commit drop as
select listener.user_id, session.id, session.created_at
from (select distinct user_id from redated) as listener
cross join lateral (
    select id, created_at
    from warehouse.listen_history as published
    where published.user_id = listener.user_id and published.removed_at is null
    offset 0
) as session;

-- Their number decides whether it is quicker to look plays up or to read them all.
analyze redated_sessions;

create temporary table redated_plays on commit drop as
select session.user_id, play.track_id, session.created_at
from redated_sessions as session
join warehouse.listen_history_tracks as play
    on play.listen_history_id = session.id and play.created_at = session.created_at;

-- In one statement with the join above, whose two columns are taken for independent, they would be expected to be one
-- play, and each be held against each pair, one by one.
analyze redated;
analyze redated_plays;

update mart.user_track_plays as counted
set first_played_at = dates.first_at, last_played_at = dates.last_at
from (
    select user_id, track_id, min(created_at) as first_at, max(created_at) as last_at
    from redated_plays
    join redated using (user_id, track_id)
    group by user_id, track_id
) as dates
where counted.user_id = dates.user_id and counted.track_id = dates.track_id;
