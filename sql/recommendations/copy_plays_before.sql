-- One row per user and track played before a moment. last_played_at in seconds since 1970.
copy (
    select user_id, track_id, count(*), floor(extract(epoch from max(listened_at)))::bigint
    from mart.fact_listens
    where listened_at < %(before)s
    group by user_id, track_id
) to stdout (format csv)
