-- One row per run from `since` to `latest` and step of it: wall and CPU seconds of its calls together, the most memory of
-- any.
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
order by run.run_id, min(cost.started_at), cost.task
