-- One row per task of a run.
insert into ops.task_runs (run_id, task, what, started_at, seconds, cpu_seconds, peak_memory_mb, succeeded)
values (
    %(run_id)s, %(task)s, %(what)s, %(started_at)s, %(seconds)s, %(cpu_seconds)s, %(peak_memory_mb)s, %(succeeded)s
)
