-- One row per published session: its key in UTC, its hash, and whether it was removed.
copy (
    select user_id, created_at at time zone 'utc', row_hash, removed_at is not null from warehouse.listen_history
) to stdout (format csv)
