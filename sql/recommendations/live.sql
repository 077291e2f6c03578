-- At most one row: what is live, and the model run behind it.
select live.live_id, live.publication_id, run.model_run_id, run.model, run.params, run.model_file, run.model_digest,
    run.data_as_of
from ml.live_publications as live
join ml.publications using (publication_id)
join ml.model_runs as run using (model_run_id)
order by live.live_id desc
limit 1
