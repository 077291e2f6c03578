-- name: begin_erasure
-- One erasure, open until it is finished.
insert into ops.erasures (kind, reason, requested_by, began_at)
values (%(kind)s, %(reason)s, %(requested_by)s, %(began_at)s)
returning erasure_id;

-- name: find_open_erasure
-- At most one row: the erasure of this listener that was begun and not finished, and what it had found.
select erasure.erasure_id, erasure.found
from ops.suppressed_listeners as listener
join ops.erasures as erasure using (erasure_id)
where listener.key = %(key)s
    and listener.fingerprint = %(fingerprint)s
    and erasure.kind = 'erased'
    and erasure.finished_at is null;

-- name: record_erased_rows
-- One erasure: what there is to be erased, so that one which is cut off tells the same when it is done.
update ops.erasures set found = found || %(found)s where erasure_id = %(erasure_id)s;

-- name: finish_erasure
-- One erasure, done.
update ops.erasures set found = found || %(found)s, finished_at = %(finished_at)s where erasure_id = %(erasure_id)s;
