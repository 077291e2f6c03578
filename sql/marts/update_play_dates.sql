-- Recompute the first and last play of each pair of user and track whose first or last play was dropped. Pairs without
-- remaining plays are already deleted.
create temporary table pairs_to_update on commit drop as
select total.user_id, total.track_id
from play_changes as change
join mart.user_track_plays as total using (user_id, track_id)
where change.dropped > 0
    and (change.first_dropped_at <= total.first_played_at or change.last_dropped_at >= total.last_played_at);

create temporary table sessions_of_pairs on commit drop as
select affected_user.user_id, session.id, session.created_at
from (select distinct user_id from pairs_to_update) as affected_user
cross join lateral (
    select id, created_at
    from warehouse.listen_history as published
    where published.user_id = affected_user.user_id and published.removed_at is null
    offset 0
) as session;

-- The planner needs the number of sessions to choose between an index lookup per session and a scan of all plays.
analyze sessions_of_pairs;

create temporary table plays_of_pairs on commit drop as
select session.user_id, play.track_id, session.created_at
from sessions_of_pairs as session
join warehouse.listen_history_tracks as play
    on play.listen_history_id = session.id and play.created_at = session.created_at;

-- Do not merge the update with the join above. The planner assumes that the two join columns are independent and would
-- estimate one play. It would then choose a nested loop over all plays and all pairs.
analyze pairs_to_update;
analyze plays_of_pairs;

update mart.user_track_plays as total
set first_played_at = dates.first_at, last_played_at = dates.last_at
from (
    select user_id, track_id, min(created_at) as first_at, max(created_at) as last_at
    from plays_of_pairs
    join pairs_to_update using (user_id, track_id)
    group by user_id, track_id
) as dates
where total.user_id = dates.user_id and total.track_id = dates.track_id;
