-- One row per published user that the batch no longer has.
update warehouse.users as published
set removed_at = %(day)s::date at time zone 'UTC', batch_id = %(batch_id)s
from {removed} as removed
where published.id = removed.id and published.removed_at is null
