-- name: insert_metric
-- Records a metric of a day. A day is measured once.
insert into ml.quality_metrics (metric, day, value, users, lower, upper, publication_id, judged, measured_at)
values (
    %(metric)s, %(day)s, %(value)s, %(users)s, %(lower)s, %(upper)s, %(publication_id)s, %(judged)s, %(measured_at)s
);

-- name: find_metric_series
-- One row per day with a verdict on a metric, in order. Days start after the last alarm that new recommendations answered.
-- If a training kept the champion, the days after its alarm up to the end of the cool-down are left out.
-- `alarm_answered` marks the day of that alarm: the fall up to then is answered.
select
    measured.day,
    measured.value,
    measured.users,
    exists (select from ml.alarms where answer = 'kept' and day = measured.day) as alarm_answered
from ml.quality_metrics as measured
where measured.metric = %(metric)s
    and measured.judged
    and measured.day <= %(day)s
    and measured.day > coalesce(
        (select max(answered_after) from ml.alarms where answer in ('published', 'fallback')), '-infinity'
    )
    and not exists (
        select from ml.alarms as kept_alarm
        where kept_alarm.answer = 'kept'
            and measured.day > kept_alarm.day
            and measured.day <= kept_alarm.answered_after + %(cool_down_days)s::integer
    )
order by measured.day;
