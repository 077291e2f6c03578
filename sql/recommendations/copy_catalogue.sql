-- One row per track that is still at the source.
copy (
    select track_id from mart.dim_tracks where removed_at is null
) to stdout (format csv)
