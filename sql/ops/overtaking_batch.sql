-- The newest batch of the endpoint that was published and holds a later list than the one asked about.
select batch_id
from ops.batches
where endpoint = %(endpoint)s
    and status in ('published', 'unchanged')
    and (day, revision) > (%(day)s, %(revision)s)
order by day desc, revision desc
limit 1
