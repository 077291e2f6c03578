-- The newest batch of the endpoint that was published from a list read later than the one asked about.
select batch_id
from ops.batches
where endpoint = %(endpoint)s
    and status in ('published', 'unchanged')
    and started_at > %(read_at)s
order by started_at desc
limit 1
