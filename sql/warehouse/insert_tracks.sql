-- One row per track of the batch that was never published.
insert into warehouse.tracks (
    id, name, artist, songwriters, duration, duration_seconds, genres, album, created_at, updated_at, row_hash, batch_id
)
select
    id, name, artist, songwriters, duration, duration_seconds, genres, album, created_at, updated_at, row_hash, %(batch_id)s
from {staged}
where is_new
