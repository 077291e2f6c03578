-- name: insert_alarm
-- One row: an alarm, unless one of its metric is open.
insert into ml.alarms (metric, day, value, baseline, statistic, publication_id, raised_at)
values (%(metric)s, %(day)s, %(value)s, %(baseline)s, %(statistic)s, %(publication_id)s, %(raised_at)s)
on conflict do nothing;

-- name: find_open_alarms
-- One row per alarm that no training has answered, oldest first.
select alarm_id, metric, day, value, baseline, statistic, publication_id
from ml.alarms
where answer is null
order by alarm_id;

-- name: assign_alarms
-- One row per open alarm of a day that a training learns from: it is the one that answers it. An earlier training that
-- had taken it up came to nothing.
update ml.alarms
set model_run_id = %(model_run_id)s
where answer is null and day <= %(data_as_of)s::date;

-- name: answer_alarms
-- One row per open alarm that a training had taken up: what became of it, and the newest day that was judged by then. No
-- day is judged before it is over: one that is not was written down while the clock was ahead.
update ml.alarms
set answer = %(answer)s,
    answered_at = %(answered_at)s,
    answered_after = coalesce(
        (select max(day) from ml.decisions where kind = 'day' and day < %(answered_at)s::timestamptz::date), day
    )
where answer is null and model_run_id = %(model_run_id)s;

-- name: find_answered_alarms
-- One row per alarm that a training answered, and how.
select alarm_id, metric, answer
from ml.alarms
where model_run_id = %(model_run_id)s
    and answer is not null
order by alarm_id;

-- name: find_end_of_cool_down
-- One row when a training kept the champion so few days before a day that no alarm is raised: the last such day.
select max(answered_after) + %(days)s::integer
from ml.alarms
where answer = 'kept'
having max(answered_after) + %(days)s::integer >= %(day)s;
