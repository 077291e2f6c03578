-- One row per user and track ever played. last_played_at in seconds since 1970.
copy (
    select user_id, track_id, plays, floor(extract(epoch from last_played_at))::bigint
    from mart.user_track_plays
) to stdout (format csv)
