-- One row: when a batch was last published, or found unchanged; null when never. A moment after the latest that can be
-- believed was noted while the clock was ahead, and would hide for as long that nothing comes in.
select max(finished_at)
from ops.batches
where status in ('published', 'unchanged') and finished_at <= %(latest)s
