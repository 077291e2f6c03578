-- name: insert_alarm
-- Raises a drift alarm, unless an alarm on its metric is open.
insert into ml.alarms (metric, day, value, baseline, statistic, publication_id, raised_at)
values (%(metric)s, %(day)s, %(value)s, %(baseline)s, %(statistic)s, %(publication_id)s, %(raised_at)s)
on conflict do nothing;

-- name: find_open_alarms
-- One row per open drift alarm, oldest first.
select alarm_id, metric, day, value, baseline, statistic, publication_id
from ml.alarms
where answer is null
order by alarm_id;

-- name: assign_alarms
-- Assigns the open alarms of days in its training data to a training. An earlier training to which they were assigned has
-- failed.
update ml.alarms
set model_run_id = %(model_run_id)s
where answer is null and day <= %(data_as_of)s::date;

-- name: answer_alarms
-- Answers the open alarms of a training with its decision and the newest day that has a verdict. No day gets a verdict
-- before it is over; a later day comes from a clock that was ahead and is ignored.
update ml.alarms
set answer = %(answer)s,
    answered_at = %(answered_at)s,
    answered_after = coalesce(
        (select max(day) from ml.decisions where kind = 'day' and day < %(answered_at)s::timestamptz::date), day
    )
where answer is null and model_run_id = %(model_run_id)s;

-- name: find_answered_alarms
-- One row per alarm that a training answered, with the answer.
select alarm_id, metric, answer
from ml.alarms
where model_run_id = %(model_run_id)s
    and answer is not null
order by alarm_id;

-- name: find_end_of_cool_down
-- One row if a day is in the cool-down after a training that kept the champion: the last day of the cool-down.
select max(answered_after) + %(days)s::integer
from ml.alarms
where answer = 'kept'
having max(answered_after) + %(days)s::integer >= %(day)s;
