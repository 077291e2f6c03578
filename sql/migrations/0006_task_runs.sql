-- ops: what the tasks of a run cost. Rows here are never pruned.

-- One row per task of a run that came to its end, well or not; a task that was killed has none. `task` is the name of
-- the step in our code, `what` the batch or list it worked on ('' where there is none). `seconds` is wall time;
-- `cpu_seconds` is that of the process and of its children that ended meanwhile, not that of Postgres; `peak_memory_mb`
-- is the most that was resident of the process meanwhile, without its children, null where the system does not tell.
create table ops.task_runs (
    run_id bigint not null references ops.runs,
    task text not null,
    what text not null,
    started_at timestamptz not null,
    seconds double precision not null,
    cpu_seconds double precision not null,
    peak_memory_mb double precision,
    succeeded boolean not null
);
create index on ops.task_runs (run_id);
