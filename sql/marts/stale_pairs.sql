-- One row per user and track whose plays must be counted anew: those of sessions that change or go.
create temporary table stale_pairs on commit drop as
select session.user_id, play.track_id
from changed_sessions as session
join warehouse.listen_history_tracks as play
    on play.listen_history_id = session.id and play.created_at = session.created_at
union
select session.user_id, play.track_id
from changed_sessions as session
cross join lateral unnest(session.items) as play (track_id)
union
select session.user_id, play.track_id
from {removed} as removed
join warehouse.listen_history as session using (user_id, created_at)
join warehouse.listen_history_tracks as play
    on play.listen_history_id = session.id and play.created_at = session.created_at
