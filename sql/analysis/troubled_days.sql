-- On which of the last 60 days was something blocked or failed, and what did arrive? One row per day with a problem.
with newest as (select max(day) as day from mart.pipeline_health)

select
    health.day,
    endpoints_published,
    endpoints_blocked,
    endpoints_failed,
    revisions,
    rows_landed,
    rows_rejected,
    critical_failures,
    warnings,
    failed_runs,
    drift_alarms
from mart.pipeline_health as health
cross join newest
where health.day > newest.day - 60
    and endpoints_blocked + endpoints_failed + critical_failures + failed_runs + drift_alarms > 0
order by health.day desc;
