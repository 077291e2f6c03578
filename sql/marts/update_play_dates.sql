-- Updates first and last play of each user and track that lost one of them and has other plays.
create temporary table pairs_to_date on commit drop as
select counted.user_id, counted.track_id
from play_changes as change
join mart.user_track_plays as counted using (user_id, track_id)
where change.dropped > 0
    and (change.first_dropped_at <= counted.first_played_at or change.last_dropped_at >= counted.last_played_at);

create temporary table sessions_to_date on commit drop as
select dated_user.user_id, session.id, session.created_at
from (select distinct user_id from pairs_to_date) as dated_user
cross join lateral (
    select id, created_at
    from warehouse.listen_history as published
    where published.user_id = dated_user.user_id and published.removed_at is null
    offset 0
) as session;

-- The planner needs the number of sessions to choose between looking up plays and reading all of them.
analyze sessions_to_date;

create temporary table plays_to_date on commit drop as
select session.user_id, play.track_id, session.created_at
from sessions_to_date as session
join warehouse.listen_history_tracks as play
    on play.listen_history_id = session.id and play.created_at = session.created_at;

-- A separate statement from the join above: the planner takes its two columns for independent and would expect one play.
-- It would then compare each play with each pair.
analyze pairs_to_date;
analyze plays_to_date;

update mart.user_track_plays as counted
set first_played_at = dates.first_at, last_played_at = dates.last_at
from (
    select user_id, track_id, min(created_at) as first_at, max(created_at) as last_at
    from plays_to_date
    join pairs_to_date using (user_id, track_id)
    group by user_id, track_id
) as dates
where counted.user_id = dates.user_id and counted.track_id = dates.track_id;
