-- name: find_running_experiment
-- The running experiment, the model run of its treatment, and the newest publication of that; no row if none runs.
select
    experiment.experiment_id,
    experiment.control_run_id,
    experiment.treatment_share,
    experiment.paused_why,
    run.model_run_id,
    run.model,
    run.params,
    run.model_file,
    run.model_digest,
    run.data_as_of,
    (select max(publication_id) from ml.publications where model_run_id = run.model_run_id)
from ml.experiments as experiment
join ml.model_runs as run on run.model_run_id = experiment.treatment_run_id
where experiment.ended_at is null;

-- name: find_newest_experiment
-- One row about the newest experiment; no row before the first.
select * from ml.newest_experiment;

-- name: find_model_run_of_publication
-- The model run of a publication; no row if the publication does not exist.
select run.model_run_id, run.model, run.params, run.model_file, run.model_digest, run.data_as_of
from ml.publications
join ml.model_runs as run using (model_run_id)
where publication_id = %(publication_id)s;

-- name: start_experiment
-- Records an experiment. No row if another one runs.
insert into ml.experiments (control_run_id, treatment_run_id, treatment_share, why, started_at)
select %(control_run_id)s, %(treatment_run_id)s, %(treatment_share)s, %(why)s, %(started_at)s
where not exists (select from ml.experiments where ended_at is null)
returning experiment_id;

-- name: end_experiment
-- Records the end of the running experiment. No row if none runs.
update ml.experiments
set ended_at = %(ended_at)s, outcome = %(outcome)s, outcome_why = %(why)s, paused_why = null
where ended_at is null
returning experiment_id;

-- name: end_superseded_experiment
-- Ends the running experiment if a publication of another model than its control went live.
update ml.experiments as experiment
set ended_at = %(ended_at)s,
    outcome = 'superseded',
    outcome_why = 'publication ' || publication.publication_id || ' of another model went live: ' || %(why)s,
    paused_why = null
from ml.publications as publication
where experiment.ended_at is null
    and publication.publication_id = %(publication_id)s
    and publication.model_run_id <> experiment.control_run_id;

-- name: find_served_treatment
-- The publication that users of the treatment get now; no row if all users get the live publication.
select served.experiment_id, served.publication_id
from ml.experiment_publications as served
join ml.publications as publication using (publication_id)
where served.live_id = (select live_id from ml.live_publications order by live_id desc limit 1)
    and publication.pruned_at is null;

-- name: insert_experiment_publication
-- Serves a publication of the treatment beside the live one, if the experiment still runs.
insert into ml.experiment_publications (live_id, experiment_id, publication_id)
select %(live_id)s, experiment_id, %(publication_id)s
from ml.experiments
where experiment_id = %(experiment_id)s and ended_at is null;

-- name: record_pause
-- Records why the newest recommendations have no treatment; null if they have one.
update ml.experiments set paused_why = %(why)s where experiment_id = %(experiment_id)s and ended_at is null;
