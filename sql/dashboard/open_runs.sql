-- One row per run since `since` that has no end, oldest first. A run holds a lock for as long as its process lives: only
-- the newest that could hold a lock which is held is at work; the others were killed, or their database went away.
with held as (
    select (classid::bigint << 32) + objid::bigint as lock
    from pg_locks
    where locktype = 'advisory'
        and objsubid = 1
        and granted
        and database = (select oid from pg_database where datname = current_database())
),
open_run as (
    select run_id, flow, day, started_at,
        case flow when 'retrain' then %(training_lock)s::bigint else %(warehouse_lock)s::bigint end as lock
    from ops.runs
    where finished_at is null and started_at >= %(since)s
)
select
    run_id,
    flow,
    day,
    started_at,
    lock in (select lock from held) and run_id = max(run_id) over (partition by lock) as at_work
from open_run
order by run_id
