-- At most one row: the erasure of this listener that was begun and not finished, and what it had found.
select erasure.erasure_id, erasure.found
from ops.suppressed_listeners as listener
join ops.erasures as erasure using (erasure_id)
where listener.key = %(key)s
    and listener.fingerprint = %(fingerprint)s
    and erasure.kind = 'erased'
    and erasure.finished_at is null
