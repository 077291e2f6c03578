-- All keys of rows of one listener that failed an expectation.
delete from ops.quarantined_rows as quarantined
using ops.batches as batch
where batch.batch_id = quarantined.batch_id
    and batch.endpoint in ('users', 'listen_history')
    and split_part(quarantined.row_key, ' ', 1) = %(user_id)s::text
