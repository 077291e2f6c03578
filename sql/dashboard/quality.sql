-- One row per day from `first_day` to `last_day` and metric of those asked for, in order.
select metric, day, value, users, lower, upper, publication_id, judged
from ml.quality_metrics
where day between %(first_day)s and %(last_day)s and metric = any(%(metrics)s)
order by metric, day
