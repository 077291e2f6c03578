-- One row per user and track that must be counted anew and still has plays.
insert into mart.user_track_plays (user_id, track_id, plays, first_played_at, last_played_at)
select session.user_id, play.track_id, count(*), min(session.created_at), max(session.created_at)
from (select distinct user_id from stale_pairs) as listener
join warehouse.listen_history as session using (user_id)
join warehouse.listen_history_tracks as play
    on play.listen_history_id = session.id and play.created_at = session.created_at
join stale_pairs as stale
    on stale.user_id = session.user_id and stale.track_id = play.track_id
where session.removed_at is null
group by session.user_id, play.track_id
