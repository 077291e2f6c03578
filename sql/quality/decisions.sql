-- name: insert_day_decision
-- Records the verdict on a day.
insert into ml.decisions (kind, day, verdict, why, figures, decided_at)
values ('day', %(day)s, %(verdict)s, %(why)s, %(figures)s, %(decided_at)s);

-- name: insert_training_decision
-- Records the decision of a training, from its model run.
insert into ml.decisions (kind, day, verdict, why, figures, model_run_id, decided_at)
select
    'training',
    (data_as_of - interval '1 microsecond')::date,
    decision,
    why,
    jsonb_build_object('model', model, 'cause', cause, 'exam', metrics -> 'exam', 'gate', metrics -> 'gate'),
    model_run_id,
    finished_at
from ml.model_runs
where model_run_id = %(model_run_id)s;

-- name: find_newest_decisions
-- The newest decisions, newest first.
select day, kind, verdict, why, model_run_id
from ml.decisions
order by decision_id desc
limit %(limit)s;

-- name: find_recent_refresh
-- One row if a training with cause `age` reached a decision in the `days` days before `day`.
select model_run_id
from ml.model_runs
where cause = 'age'
    and decision in ('published', 'fallback', 'kept')
    and data_as_of::date > %(day)s::date - %(days)s::integer
limit 1;
