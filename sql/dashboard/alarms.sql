-- One row per alarm on quality that waits for an answer, or is of a day since `first_day`; the newest first.
select alarm_id, metric, day, value, baseline, publication_id, raised_at, answer, answered_at, model_run_id
from ml.alarms
where answer is null or day >= %(first_day)s
order by alarm_id desc
