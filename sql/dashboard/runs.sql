-- name: find_last_runs
-- One row per flow: its newest run that ended.
select distinct on (flow) run_id, flow, day, started_at, finished_at, outcome
from ops.runs
where finished_at is not null
order by flow, run_id desc;

-- name: find_open_runs
-- One row per run since `since` without an end, oldest first. A run holds a lock while its process lives. If the lock is
-- held, the newest of its runs is in progress. All others were killed or lost their database.
with granted_locks as (
    select (classid::bigint << 32) + objid::bigint as lock
    from pg_locks
    where locktype = 'advisory'
        and objsubid = 1
        and granted
        and database = (select oid from pg_database where datname = current_database())
),
open_run as (
    select run_id, flow, day, started_at,
        case flow
            when 'retrain' then %(training_lock)s::bigint
            when 'audit_stream' then %(stream_audit_lock)s::bigint
            else %(warehouse_lock)s::bigint
        end as lock
    from ops.runs
    where finished_at is null and started_at >= %(since)s
)
select
    run_id,
    flow,
    day,
    started_at,
    lock in (select lock from granted_locks) and run_id = max(run_id) over (partition by lock) as at_work
from open_run
order by run_id;

-- name: sum_task_costs
-- One row per run from `since` to `latest` and task: the sum of wall and CPU seconds of its calls, and their highest peak
-- memory.
select
    run.run_id,
    run.flow,
    run.started_at,
    cost.task,
    sum(cost.seconds) as seconds,
    sum(cost.cpu_seconds) as cpu_seconds,
    max(cost.peak_memory_mb) as peak_memory_mb,
    count(*) filter (where not cost.succeeded) as failures
from ops.runs as run
join ops.task_runs as cost using (run_id)
where run.started_at between %(since)s and %(latest)s
group by run.run_id, run.flow, run.started_at, cost.task
order by run.run_id, min(cost.started_at), cost.task;
