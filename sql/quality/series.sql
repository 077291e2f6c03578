-- One row per day on which a metric was judged, in order: of the days after the newest alarm that was answered.
select day, value, users
from ml.quality_metrics
where metric = %(metric)s
    and judged
    and day <= %(day)s
    and day > coalesce((select max(answered_after) from ml.alarms), '-infinity')
order by day
