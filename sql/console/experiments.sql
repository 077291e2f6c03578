-- name: find_experiments
-- One row per experiment, the newest first, or only the one with `experiment_id`: its two models, the users who got each, and the newest verdict. The look has the
-- users of an ended experiment whose exposures were deleted.
select
    experiment.experiment_id, experiment.control_run_id, control_run.model as control_model, experiment.treatment_run_id,
    treatment_run.model as treatment_model, experiment.treatment_share, experiment.why, experiment.started_at,
    experiment.ended_at, experiment.outcome, experiment.outcome_why, newest.paused_why,
    coalesce(nullif(exposed.control_users, 0), look.control_users, 0) as control_users,
    coalesce(nullif(exposed.treatment_users, 0), look.treatment_users, 0) as treatment_users,
    look.verdict
from ml.experiments as experiment
join ml.model_runs as control_run on control_run.model_run_id = experiment.control_run_id
join ml.model_runs as treatment_run on treatment_run.model_run_id = experiment.treatment_run_id
left join ml.newest_experiment as newest using (experiment_id)
cross join lateral (
    select
        count(*) filter (where not exposure.is_treatment) as control_users,
        count(*) filter (where exposure.is_treatment) as treatment_users
    from ml.experiment_exposures as exposure
    where exposure.experiment_id = experiment.experiment_id
) as exposed
left join lateral (
    select
        (result ->> 'control_users')::bigint as control_users,
        (result ->> 'treatment_users')::bigint as treatment_users,
        result ->> 'verdict' as verdict
    from ml.experiment_looks as newest_look
    where newest_look.experiment_id = experiment.experiment_id
    order by newest_look.day desc
    limit 1
) as look on true
where %(experiment_id)s::bigint is null or experiment.experiment_id = %(experiment_id)s
order by experiment.experiment_id desc
limit 20;

-- name: find_looks
-- One row per look at an experiment, the newest first: the comparison of its variants by all days up to one.
select day, looked_at, result, count(*) over () as looks
from ml.experiment_looks
where experiment_id = %(experiment_id)s
order by day desc
limit 60;
