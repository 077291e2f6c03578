-- One row per alarm that a training answered, and how.
select alarm_id, metric, answer
from ml.alarms
where model_run_id = %(model_run_id)s
    and answer is not null
order by alarm_id
