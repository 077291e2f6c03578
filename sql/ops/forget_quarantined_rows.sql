-- All keys that the last audit of one batch named.
delete from ops.quarantined_rows where batch_id = %(batch_id)s
