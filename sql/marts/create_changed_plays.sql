-- One row per play that is dropped (-1) or added (1) because published sessions changed or were removed. New sessions are
-- left out. Run this before the sessions themselves change.
create temporary table changed_plays on commit drop as
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
cross join lateral unnest(session.items) as play (track_id);
