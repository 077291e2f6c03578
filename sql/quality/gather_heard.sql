-- One row per listener of the day and track that they played for as long as the same was live. `could_be_named`: not
-- played before, or the lists may hold played ones.
create temporary table day_heard on commit drop as
select
    listener.user_id,
    play.track_id,
    count(*) as plays,
    bool_or(not listener.excludes_played or counted.first_played_at >= listener.first_at) as could_be_named,
    bool_or(track.created_at >= listener.learned_until) as is_new
from day_listeners as listener
join day_plays as play using (user_id, live_id)
join mart.dim_tracks as track using (track_id)
left join mart.user_track_plays as counted on counted.user_id = play.user_id and counted.track_id = play.track_id
group by listener.user_id, play.track_id
