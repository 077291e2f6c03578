-- One row per play from one moment on and before another. listened_at in seconds since 1970.
copy (
    select user_id, track_id, floor(extract(epoch from listened_at))::bigint
    from mart.fact_listens
    where listened_at >= %(begin)s and listened_at < %(before)s
) to stdout (format csv)
