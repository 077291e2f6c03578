-- One row per model file that a publication which is kept could be refreshed from.
select distinct run.model_file
from ml.model_runs as run
left join ml.publications as publication using (model_run_id)
where run.model_file is not null and (publication.pruned_at is null or run.decision = 'running')
