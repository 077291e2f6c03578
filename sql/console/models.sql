-- name: find_live_publication
-- One row: the live publication and its model; no row before the first.
select
    live.publication_id, live.live_from, live.why, publication.model_run_id, publication.listeners, publication.rows,
    publication.tracks_covered, publication.data_as_of, run.model, run.params
from ml.live_publications as live
join ml.publications as publication using (publication_id)
join ml.model_runs as run using (model_run_id)
where live.live_id = (select max(live_id) from ml.live_publications);

-- name: find_trainings
-- One row per training, the newest first, of those before `before_id` if it is not null.
select
    run.model_run_id, run.model, run.params, run.decision, run.why, run.cause, run.started_at, run.finished_at,
    run.data_as_of, run.metrics
from ml.model_runs as run
where %(before_id)s::bigint is null or run.model_run_id < %(before_id)s
order by run.model_run_id desc
limit 31;

-- name: find_training
-- One row: a training with its metrics; no row if it is unknown.
select
    model_run_id, model, params, metrics, seed, decision, why, cause, started_at, finished_at, data_as_of, code_version,
    model_file, batches
from ml.model_runs
where model_run_id = %(model_run_id)s;

-- name: find_publications_of_training
-- One row per publication of a training, the newest first.
select publication_id, flow, status, made_at, pruned_at, reason, listeners, tracks_covered
from ml.publications
where model_run_id = %(model_run_id)s
order by publication_id desc
limit 30;

-- name: find_live_periods
-- One row per time that a publication went live, the newest first; and whether it was a rollback.
select
    live.live_id, live.publication_id, live.live_from, live.why, live.previous_id > live.publication_id as is_rollback,
    live.replaced_at, publication.listeners, publication.tracks_covered, publication.pruned_at, publication.model_run_id,
    run.model
from (
    select
        live_id, publication_id, live_from, why,
        lag(publication_id) over (order by live_id) as previous_id,
        lead(live_from) over (order by live_id) as replaced_at
    from ml.live_publications
) as live
join ml.publications as publication using (publication_id)
join ml.model_runs as run using (model_run_id)
order by live.live_id desc
limit 30;

-- name: find_decisions
-- One row per decision of the newest ten: verdicts on days and on trainings.
select decision_id, kind, day, verdict, why, model_run_id, decided_at
from ml.decisions
order by decision_id desc
limit 10;

-- name: find_quality
-- One row per day and metric since `first_day`.
select metric, day, value, lower, upper, users
from ml.quality_metrics
where metric = any(%(metrics)s) and day >= %(first_day)s
order by metric, day;

-- name: find_drift_alarms
-- One row per drift alarm, the newest first.
select alarm_id, metric, day, value, baseline, raised_at, answer, answered_at, model_run_id
from ml.alarms
order by alarm_id desc
limit 20;
