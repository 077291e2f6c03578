-- name: begin_erasure
-- Records an erasure, which is open until it is finished.
insert into ops.erasures (kind, reason, requested_by, began_at)
values (%(kind)s, %(reason)s, %(requested_by)s, %(began_at)s)
returning erasure_id;

-- name: find_open_erasure
-- The unfinished erasure of a user and the rows it had found; no row if there is none.
select erasure.erasure_id, erasure.found
from ops.suppressed_listeners as suppressed
join ops.erasures as erasure using (erasure_id)
where suppressed.key = %(key)s
    and suppressed.fingerprint = %(fingerprint)s
    and erasure.kind = 'erased'
    and erasure.finished_at is null;

-- name: record_erased_rows
-- Records the rows to erase. An erasure that continues after a kill then reports the same rows.
update ops.erasures set found = found || %(found)s where erasure_id = %(erasure_id)s;

-- name: finish_erasure
-- Closes an erasure.
update ops.erasures set found = found || %(found)s, finished_at = %(finished_at)s where erasure_id = %(erasure_id)s;
