-- One row per published session that the batch no longer has.
update warehouse.listen_history as published
set removed_at = %(day)s::date at time zone 'UTC', batch_id = %(batch_id)s
from removed_sessions as removed
where published.id = removed.id and published.created_at = removed.created_at
