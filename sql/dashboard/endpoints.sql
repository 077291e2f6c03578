-- One row per endpoint of which a batch is known: the newest day that came in whole, and the newest batch whatever became
-- of it. A batch without `finished_at` is at work, or was cut off. A batch that names a day after `today` (by a clock that
-- was ahead, or by hand) counts only while there is no other.
select
    newest.endpoint,
    published.day as published_day,
    published.finished_at as published_at,
    newest.batch_id,
    newest.day,
    newest.status,
    newest.reason,
    newest.started_at,
    newest.finished_at
from (
    select distinct on (endpoint) endpoint, batch_id, day, status, reason, started_at, finished_at
    from ops.batches
    order by endpoint, day <= %(today)s desc, day desc, revision desc
) as newest
left join lateral (
    select day, finished_at
    from ops.batches
    where endpoint = newest.endpoint and status in ('published', 'unchanged')
    order by day <= %(today)s desc, day desc, revision desc
    limit 1
) as published on true
