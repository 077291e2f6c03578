-- One row per batch.
select batch_id from ops.batches
