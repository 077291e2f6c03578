-- name: create_day_users
-- One row per listener of the day: the publication that was live at their first play, and whether they have a list of
-- their own in it.
create temporary table day_users on commit drop as
select distinct on (play.user_id)
    play.user_id,
    play.listened_at as first_at,
    play.live_id,
    live.publication_id,
    publication.excludes_played,
    publication.pruned_at is not null as pruned,
    run.data_as_of as learned_until,
    exists (
        select from ml.recommendations as list
        where list.publication_id = live.publication_id and list.user_id = play.user_id and list.rank = 1
    ) as has_list
from day_plays as play
join ml.live_publications as live using (live_id)
join ml.publications as publication using (publication_id)
join ml.model_runs as run using (model_run_id)
order by play.user_id, play.listened_at, play.track_id;

-- name: create_day_user_tracks
-- One row per listener of the day and track that they played for as long as the same was live. `could_be_named`: not
-- played before, or the lists may hold played ones.
create temporary table day_user_tracks on commit drop as
select
    listener.user_id,
    play.track_id,
    count(*) as plays,
    bool_or(not listener.excludes_played or counted.first_played_at >= listener.first_at) as could_be_named,
    bool_or(track.created_at >= listener.learned_until) as is_new
from day_users as listener
join day_plays as play using (user_id, live_id)
join mart.dim_tracks as track using (track_id)
left join mart.user_track_plays as counted on counted.user_id = play.user_id and counted.track_id = play.track_id
group by listener.user_id, play.track_id;
