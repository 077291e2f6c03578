-- One row per published row: its key, its hash, and whether it was removed.
copy (select id, row_hash, removed_at is not null from warehouse.tracks) to stdout (format csv)
