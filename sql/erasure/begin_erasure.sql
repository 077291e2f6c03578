-- One erasure, open until it is finished.
insert into ops.erasures (kind, reason, requested_by, began_at)
values (%(kind)s, %(reason)s, %(requested_by)s, %(began_at)s)
returning erasure_id
