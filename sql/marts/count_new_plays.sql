-- One row per user and track of the new sessions, into an empty table without a key.
insert into mart.user_track_plays (user_id, track_id, plays, first_played_at, last_played_at)
select session.user_id, play.track_id, count(*), min(session.created_at), max(session.created_at)
from {staged} as session
cross join lateral unnest(session.items) as play (track_id)
where session.is_new
group by session.user_id, play.track_id
