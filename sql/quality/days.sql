-- name: create_day_users
-- One row per user of the day: the publication that was live at their first play, and whether it has recommendations for
-- them.
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
        select from ml.recommendations as first_rank
        where first_rank.publication_id = live.publication_id
            and first_rank.user_id = play.user_id
            and first_rank.rank = 1
    ) as has_list
from day_plays as play
join ml.live_publications as live using (live_id)
join ml.publications as publication using (publication_id)
join ml.model_runs as run using (model_run_id)
order by play.user_id, play.listened_at, play.track_id;

-- name: create_day_user_tracks
-- One row per user of the day and track that they played while the same publication was live. `is_relevant`: the user had
-- not played the track before, or played tracks are not excluded.
create temporary table day_user_tracks on commit drop as
select
    day_user.user_id,
    play.track_id,
    count(*) as plays,
    bool_or(not day_user.excludes_played or total.first_played_at >= day_user.first_at) as is_relevant,
    bool_or(track.created_at >= day_user.learned_until) as is_new
from day_users as day_user
join day_plays as play using (user_id, live_id)
join mart.dim_tracks as track using (track_id)
left join mart.user_track_plays as total on total.user_id = play.user_id and total.track_id = play.track_id
group by day_user.user_id, play.track_id;
