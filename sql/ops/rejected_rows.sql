-- name: delete_rejected_rows
-- Deletes the rejected rows of a batch.
delete from ops.rejected_rows where batch_id = %(batch_id)s;

-- name: copy_rejected_rows
-- Loads one row per rejected row or play.
copy ops.rejected_rows (batch_id, endpoint, row_position, play_position, raw_json, reason)
from stdin (format csv, null '\N');
