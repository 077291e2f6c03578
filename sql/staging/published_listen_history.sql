-- One row per published session: its key, its hash, and whether it was removed.
copy (select user_id, created_at, row_hash, removed_at is not null from warehouse.listen_history) to stdout (format csv)
