-- One row per endpoint that was ever published: its newest batch that came in.
select distinct on (endpoint) batch_id
from ops.batches
where status in ('published', 'unchanged')
order by endpoint, day desc, revision desc
