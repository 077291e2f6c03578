-- One row if the newest batch of one endpoint's day was not published, and no list of the endpoint that was read later
-- either. Runs tell the order; times only where no run knows. No row when nobody tried.
select newest.batch_id
from (
    select batch_id, status, started_at, read_in_run
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
            and case
                when later.read_in_run is not null and newest.read_in_run is not null
                    then later.read_in_run > newest.read_in_run
                else later.started_at > newest.started_at
            end
    )
