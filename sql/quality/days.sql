-- name: create_day_users
-- One row per user of the day: the publication that they got at their first play, and whether it has recommendations for
-- them. During an experiment, the hash of serving selects the live publication or that of the treatment. `pruned`: the recommendations that the user saw were deleted. `history_from` is the time from which fresh
-- recommendations are kept.
create temporary table day_users on commit drop as
select distinct on (play.user_id)
    play.user_id,
    play.listened_at as first_at,
    play.live_id,
    publication.publication_id,
    publication.excludes_played,
    publication.pruned_at is not null or (
        %(day)s::date < %(history_from)s::timestamptz
        and exists (
            select from ml.fresh_recommendation_history as history
            where history.publication_id = publication.publication_id and history.shown_from < %(day)s::date + 1
        )
    ) as pruned,
    run.data_as_of as learned_until,
    exists (
        select from ml.recommendations as first_rank
        where first_rank.publication_id = publication.publication_id
            and first_rank.user_id = play.user_id
            and first_rank.rank = 1
    ) as has_published_list
from day_plays as play
join ml.live_publications as live using (live_id)
left join ml.experiment_publications as treatment using (live_id)
left join ml.experiments as experiment using (experiment_id)
join ml.publications as publication on publication.publication_id = case
    when (hashint8extended(play.user_id, experiment.experiment_id) & 65535) < experiment.treatment_share * 65536
        then treatment.publication_id
    else live.publication_id
end
join ml.model_runs as run using (model_run_id)
order by play.user_id, play.listened_at, play.track_id;

-- name: create_day_lists
-- One row per session of a user of the day while the same publication was live: the fresh recommendations that the user saw
-- at its start, or null for the published list. `has_list`: that list had tracks.
create temporary table day_lists on commit drop as
select
    session.user_id,
    session.listened_at,
    fresh.track_ids as fresh_track_ids,
    fresh.track_ids is not null or day_user.has_published_list as has_list
from (select distinct user_id, live_id, listened_at from day_plays) as session
join day_users as day_user using (user_id, live_id)
left join lateral (
    select nullif(history.track_ids, array[]::bigint[]) as track_ids
    from ml.fresh_recommendation_history as history
    where history.publication_id = day_user.publication_id
        and history.user_id = session.user_id
        and history.shown_from <= session.listened_at
    order by history.history_id desc
    limit 1
) as fresh on true;

-- name: create_day_user_tracks
-- One row per user of the day and track that they played while the same publication was live, first at `first_at`.
-- `is_relevant`: the user then saw recommendations of their own, and had not played the track before the day, unless played
-- tracks are not excluded.
create temporary table day_user_tracks on commit drop as
with played as (
    select
        day_user.user_id,
        play.track_id,
        count(*) as plays,
        min(play.listened_at) as first_at,
        bool_or(not day_user.excludes_played or total.first_played_at >= day_user.first_at) as is_relevant,
        bool_or(track.created_at >= day_user.learned_until) as is_new
    from day_users as day_user
    join day_plays as play using (user_id, live_id)
    join mart.dim_tracks as track using (track_id)
    left join mart.user_track_plays as total on total.user_id = play.user_id and total.track_id = play.track_id
    group by day_user.user_id, play.track_id
)

select
    played.user_id,
    played.track_id,
    played.plays,
    played.first_at,
    played.is_relevant and list.has_list as is_relevant,
    played.is_new
from played
join day_lists as list on list.user_id = played.user_id and list.listened_at = played.first_at;
