-- One batch by its id. settled: a run that judged it has ended.
select batch.*, exists (
    select from ops.run_batches as touched
    join ops.runs as run using (run_id)
    where touched.batch_id = batch.batch_id and run.finished_at is not null
) as settled
from ops.batches as batch
where batch.batch_id = %(batch_id)s
