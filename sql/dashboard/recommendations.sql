-- name: find_live_publications
-- One row per time since `since` that a publication went live, newest first. The live publication is always included.
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
order by live.live_id desc;

-- name: find_newest_publication
-- The newest publication of any status, without those of a treatment: if they fail, the experiment pauses. No row before the
-- first.
select publication_id, status, made_at, reason
from ml.publications
where model_run_id not in (select treatment_run_id from ml.experiments where ended_at is null)
order by publication_id desc
limit 1;

-- name: find_paused_experiments
-- The running experiment, if all users get the control; else no row.
select experiment_id, paused_why from ml.newest_experiment where paused_why is not null;

-- name: count_users_and_tracks
-- One row: the number of users and tracks that the source still has.
select
    (select count(*) from mart.dim_users where removed_at is null) as users,
    (select count(*) from mart.dim_tracks where removed_at is null) as tracks;

-- name: find_quality_metrics
-- One row per requested metric and day from `first_day` to `last_day`, in order.
select metric, day, value, users, lower, upper, publication_id, judged
from ml.quality_metrics
where day between %(first_day)s and %(last_day)s and metric = any(%(metrics)s)
order by metric, day;

-- name: find_alarms
-- One row per drift alarm that is open or of a day since `first_day`, newest first.
select alarm_id, metric, day, value, baseline, publication_id, raised_at, answer, answered_at, model_run_id
from ml.alarms
where answer is null or day >= %(first_day)s
order by alarm_id desc;

-- name: find_decisions
-- One row per decision since `since`, newest first: evaluations of days, trainings, and rollbacks.
with live as (
    select live_id, publication_id, live_from, why, lag(publication_id) over (order by live_id) as previous_id
    from ml.live_publications
)
select kind, day, verdict as outcome, why, decided_at
from ml.decisions
where decided_at >= %(since)s
union all
select 'rollback', (live_from at time zone 'UTC')::date, 'publication ' || publication_id || ' is live again', why, live_from
from live
where publication_id < previous_id and live_from >= %(since)s
order by decided_at desc, kind;
