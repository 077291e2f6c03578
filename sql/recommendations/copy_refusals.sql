-- One row per user and track whose last answer, given before a moment, is that it was not useful. given_at in seconds since
-- 1970.
copy (
    select user_id, track_id, floor(extract(epoch from updated_at))::bigint
    from (
        select distinct on (user_id, track_id) user_id, track_id, useful, updated_at
        from ml.feedback
        where updated_at < %(before)s
        order by user_id, track_id, updated_at desc
    ) as last_answers
    where not useful
) to stdout (format csv)
