-- One row per time since `since` that a list went live, and one for what is live now however old; the newest first.
select
    live.live_id,
    live.publication_id,
    live.live_from,
    live.why,
    run.model,
    run.model_run_id,
    publication.listeners,
    publication.rows,
    publication.tracks_covered
from ml.live_publications as live
join ml.publications as publication using (publication_id)
join ml.model_runs as run using (model_run_id)
where live.live_from >= %(since)s or live.live_id = (select max(live_id) from ml.live_publications)
order by live.live_id desc
