-- One row per session that changed.
update warehouse.listen_history as published
set updated_at = changed.updated_at, row_hash = changed.row_hash, batch_id = %(batch_id)s, removed_at = null
from changed_sessions as changed
where published.id = changed.id and published.created_at = changed.created_at
