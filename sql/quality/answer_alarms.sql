-- One row per open alarm that a training had taken up: what became of it, and the newest day that was judged by then. No
-- day is judged before it is over: one that is not was written down while the clock was ahead.
update ml.alarms
set answer = %(answer)s,
    answered_at = %(answered_at)s,
    answered_after = coalesce(
        (select max(day) from ml.decisions where kind = 'day' and day < %(answered_at)s::timestamptz::date), day
    )
where answer is null and model_run_id = %(model_run_id)s
