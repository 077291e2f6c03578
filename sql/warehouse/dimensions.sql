-- name: insert_tracks
-- One row per track of the batch that was never published.
insert into warehouse.tracks (
    id, name, artist, songwriters, duration, duration_seconds, genres, album, created_at, updated_at, row_hash, batch_id
)
select
    id, name, artist, songwriters, duration, duration_seconds, genres, album, created_at, updated_at, row_hash, %(batch_id)s
from {staged}
where is_new;

-- name: update_tracks
-- One row per published track that the batch has otherwise, or has again.
update warehouse.tracks as published
set name = staged.name,
    artist = staged.artist,
    songwriters = staged.songwriters,
    duration = staged.duration,
    duration_seconds = staged.duration_seconds,
    genres = staged.genres,
    album = staged.album,
    created_at = staged.created_at,
    updated_at = staged.updated_at,
    row_hash = staged.row_hash,
    batch_id = %(batch_id)s,
    removed_at = null
from {staged} as staged
where published.id = staged.id and not staged.is_new;

-- name: remove_tracks
-- One row per published track that the batch no longer has.
update warehouse.tracks as published
set removed_at = %(day)s::date at time zone 'UTC', batch_id = %(batch_id)s
from {removed} as removed
where published.id = removed.id and published.removed_at is null;

-- name: insert_users
-- One row per user of the batch that was never published.
insert into warehouse.users (
    id, first_name, last_name, email, gender, favorite_genres, created_at, updated_at, row_hash, batch_id
)
select
    id, first_name, last_name, email, gender, favorite_genres, created_at, updated_at, row_hash, %(batch_id)s
from {staged}
where is_new;

-- name: update_users
-- One row per published user that the batch has otherwise, or has again.
update warehouse.users as published
set first_name = staged.first_name,
    last_name = staged.last_name,
    email = staged.email,
    gender = staged.gender,
    favorite_genres = staged.favorite_genres,
    created_at = staged.created_at,
    updated_at = staged.updated_at,
    row_hash = staged.row_hash,
    batch_id = %(batch_id)s,
    removed_at = null
from {staged} as staged
where published.id = staged.id and not staged.is_new;

-- name: remove_users
-- One row per published user that the batch no longer has.
update warehouse.users as published
set removed_at = %(day)s::date at time zone 'UTC', batch_id = %(batch_id)s
from {removed} as removed
where published.id = removed.id and published.removed_at is null;
