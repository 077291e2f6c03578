-- One row: what became of a training, as its model run says.
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
where model_run_id = %(model_run_id)s
