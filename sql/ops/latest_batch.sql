-- The newest revision of one endpoint's day. settled: the last run that worked on it has ended.
select batch.*, coalesce(
    (
        select run.finished_at is not null
        from ops.run_batches as touched
        join ops.runs as run using (run_id)
        where touched.batch_id = batch.batch_id
        order by run_id desc
        limit 1
    ),
    false
) as settled
from ops.batches as batch
where batch.endpoint = %(endpoint)s and batch.day = %(day)s
order by batch.revision desc
limit 1
