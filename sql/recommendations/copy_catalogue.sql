-- One row per track that is still at the source, with what is known of it. In the order of ids.
copy (
    select track_id, artist, genres from mart.dim_tracks where removed_at is null order by track_id
) to stdout (format csv)
