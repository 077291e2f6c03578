-- The newest revision of one endpoint's day. settled: a run that judged it has ended.
select batch.*, exists (
    select from ops.run_batches as touched
    join ops.runs as run using (run_id)
    where touched.batch_id = batch.batch_id and run.finished_at is not null
) as settled
from ops.batches as batch
where batch.endpoint = %(endpoint)s and batch.day = %(day)s
order by batch.revision desc
limit 1
