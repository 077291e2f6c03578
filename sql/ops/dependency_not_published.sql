-- One row if the newest batch of one endpoint's day was not published, and no list of the endpoint that was read later
-- either. No row when nobody tried.
select newest.batch_id
from (
    select batch_id, status, started_at
    from ops.batches
    where endpoint = %(endpoint)s and day = %(day)s
    order by revision desc
    limit 1
) as newest
where newest.status not in ('published', 'unchanged')
    and not exists (
        select
        from ops.batches as later
        where later.endpoint = %(endpoint)s
            and later.status in ('published', 'unchanged')
            and later.started_at > newest.started_at
    )
