-- ops: the cost of each task of a run. Rows are never pruned.

-- One row per task that ended, well or not. A killed task has none. `task` is the name in our code, `what` the batch or
-- publication it worked on ('' if there is none). `seconds` is wall time. `cpu_seconds` includes the process and children
-- that ended meanwhile, not Postgres. `peak_memory_mb` is the peak resident memory of the process without children; null if
-- the system does not report it.
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
