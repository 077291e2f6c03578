-- One row per user and track with added plays, of new and of changed sessions: counted on top of what is there.
insert into mart.user_track_plays as counted (user_id, track_id, plays, first_played_at, last_played_at)
select user_id, track_id, sum(added), min(first_added_at), max(last_added_at)
from (
    select
        session.user_id,
        play.track_id,
        count(*) as added,
        min(session.created_at) as first_added_at,
        max(session.created_at) as last_added_at
    from {staged} as session
    cross join lateral unnest(session.items) as play (track_id)
    where session.is_new
    group by session.user_id, play.track_id
    union all
    select user_id, track_id, added, first_added_at, last_added_at
    from play_changes
    where added > 0
) as additions
group by user_id, track_id
order by user_id, track_id
on conflict (user_id, track_id) do update set
    plays = counted.plays + excluded.plays,
    first_played_at = least(counted.first_played_at, excluded.first_played_at),
    last_played_at = greatest(counted.last_played_at, excluded.last_played_at)
