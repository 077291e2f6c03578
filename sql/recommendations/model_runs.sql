-- name: start_model_run
-- Records a training, which is open until it is decided.
insert into ml.model_runs (model, params, seed, data_as_of, batches, code_version, cause, decision, started_at)
values (%(model)s, %(params)s, %(seed)s, %(data_as_of)s, %(batches)s, %(code_version)s, %(cause)s, 'running', %(started_at)s)
returning model_run_id;

-- name: finish_model_run
-- Records the chosen model, its metrics and the decision of a training. A decision to publish does not change.
update ml.model_runs
set model = %(model)s,
    params = %(params)s,
    metrics = %(metrics)s,
    decision = %(decision)s,
    why = %(why)s,
    model_file = %(model_file)s,
    model_digest = %(model_digest)s,
    finished_at = %(finished_at)s
where model_run_id = %(model_run_id)s and decision not in ('published', 'fallback');

-- name: close_abandoned_model_runs
-- Closes trainings that are open although none is running. One row per training.
update ml.model_runs
set decision = 'failed', why = 'it was interrupted: nothing of it was published', finished_at = %(finished_at)s
where decision = 'running'
returning model_run_id;

-- name: find_model_files_in_use
-- One row per model file that a kept publication, an open training or the running experiment needs.
select distinct run.model_file
from ml.model_runs as run
left join ml.publications as publication using (model_run_id)
where run.model_file is not null
    and (
        publication.pruned_at is null
        or run.decision = 'running'
        or run.model_run_id in (
            select unnest(array[control_run_id, treatment_run_id]) from ml.experiments where ended_at is null
        )
    );
