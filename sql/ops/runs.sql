-- name: start_run
-- Records a run, which is open until it is finished.
insert into ops.runs (flow, day, started_at)
values (%(flow)s, %(day)s, %(started_at)s)
returning run_id;

-- name: add_batch_to_run
-- Records that a run works on a batch.
insert into ops.run_batches (run_id, batch_id)
values (%(run_id)s, %(batch_id)s)
on conflict do nothing;

-- name: finish_run
-- Closes a run.
update ops.runs set finished_at = %(finished_at)s, outcome = %(outcome)s where run_id = %(run_id)s;

-- name: find_newest_run
-- The newest run by its number; no row before the first.
select run_id, flow, started_at from ops.runs order by run_id desc limit 1;

-- name: find_run
-- The run with this number and start; no row in another database.
select run_id from ops.runs where run_id = %(run_id)s and started_at = %(started_at)s;

-- name: insert_task_run
-- Records a task of a run.
insert into ops.task_runs (run_id, task, what, started_at, seconds, cpu_seconds, peak_memory_mb, succeeded)
values (
    %(run_id)s, %(task)s, %(what)s, %(started_at)s, %(seconds)s, %(cpu_seconds)s, %(peak_memory_mb)s, %(succeeded)s
);
