-- One row per open alarm of a day that a training learns from: it is the one that answers it. An earlier training that
-- had taken it up came to nothing.
update ml.alarms
set model_run_id = %(model_run_id)s
where answer is null and day <= %(data_as_of)s::date
