-- One row per alarm that no training has answered, oldest first.
select alarm_id, metric, day, value, baseline, statistic, publication_id
from ml.alarms
where answer is null
order by alarm_id
