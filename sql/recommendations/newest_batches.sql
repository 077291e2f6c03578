-- One row per endpoint that was ever published: its newest batch that came in. Runs tell which is the newest: a batch may
-- name a day in the future, by a clock that was ahead.
select distinct on (endpoint) batch_id
from ops.batches
where status in ('published', 'unchanged')
order by endpoint, read_in_run desc nulls last, day desc, revision desc
