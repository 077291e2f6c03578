-- One row per listener of the day: the publication that was live at their first play, and whether they have a list of
-- their own in it.
create temporary table day_listeners on commit drop as
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
order by play.user_id, play.listened_at, play.track_id
