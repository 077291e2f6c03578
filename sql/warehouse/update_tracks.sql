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
where published.id = staged.id and not staged.is_new
