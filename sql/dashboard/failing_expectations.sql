-- One row per expectation that fails in the newest audit of an endpoint, with why the batch was let in all the same, if it
-- was. No values of rows: those are in Data Docs, for whoever may see them.
with newest as (
    select distinct on (batch.endpoint) batch.batch_id, batch.endpoint
    from ops.batches as batch
    where exists (select from ops.expectation_results as result where result.batch_id = batch.batch_id)
    order by batch.endpoint, batch.day <= %(today)s desc, batch.day desc, batch.revision desc
)
select newest.endpoint, newest.batch_id, result.expectation, result."column" as column_name, result.severity,
    result.unexpected_count,
    (
        select reason from ops.acceptances where batch_id = newest.batch_id order by acceptance_id desc limit 1
    ) as accepted
from newest
join ops.expectation_results as result using (batch_id)
where not result.success
order by result.severity, newest.endpoint, result.expectation, result."column"
