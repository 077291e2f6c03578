-- One row: when a batch was last published, or found unchanged; null when never.
select max(finished_at)
from ops.batches
where status in ('published', 'unchanged')
