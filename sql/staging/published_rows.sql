-- name: copy_published_tracks
-- One row per published row: its key, its hash, and whether it was removed.
copy (select id, row_hash, removed_at is not null from warehouse.tracks) to stdout (format csv);

-- name: copy_published_users
-- One row per published row: its key, its hash, and whether it was removed.
copy (select id, row_hash, removed_at is not null from warehouse.users) to stdout (format csv);

-- name: copy_published_listen_history
-- One row per published session: its key in UTC, its hash, and whether it was removed.
copy (
    select user_id, created_at at time zone 'utc', row_hash, removed_at is not null from warehouse.listen_history
) to stdout (format csv);

-- name: copy_known_tracks
-- One id per row ever published.
copy (select id from warehouse.tracks) to stdout (format csv);

-- name: copy_known_users
-- One id per row ever published.
copy (select id from warehouse.users) to stdout (format csv);
