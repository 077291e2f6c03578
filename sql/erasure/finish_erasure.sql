-- One erasure, done.
update ops.erasures set found = found || %(found)s, finished_at = %(finished_at)s where erasure_id = %(erasure_id)s
