-- One row per user and track of the new sessions: their plays are added to what is counted already.
insert into mart.user_track_plays as counted (user_id, track_id, plays, first_played_at, last_played_at)
select session.user_id, play.track_id, count(*), min(session.created_at), max(session.created_at)
from {staged} as session
cross join lateral unnest(session.items) as play (track_id)
where session.is_new
group by session.user_id, play.track_id
order by session.user_id, play.track_id
on conflict (user_id, track_id) do update set
    plays = counted.plays + excluded.plays,
    first_played_at = least(counted.first_played_at, excluded.first_played_at),
    last_played_at = greatest(counted.last_played_at, excluded.last_played_at)
