-- One row per rejected row or play.
copy ops.rejected_rows (batch_id, endpoint, row_position, play_position, raw_json, reason)
from stdin (format csv, null '\N')
