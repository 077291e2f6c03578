-- One row per day since `first_day` and metric of those asked for, in order.
select metric, day, value, users, lower, upper, publication_id, judged
from ml.quality_metrics
where day >= %(first_day)s and metric = any(%(metrics)s)
order by metric, day
