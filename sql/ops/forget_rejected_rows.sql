-- All rejected rows of one batch.
delete from ops.rejected_rows where batch_id = %(batch_id)s
