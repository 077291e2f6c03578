-- name: find_newest_play_time
-- One row: the time of the newest play before a moment; null if there is none.
select max(listened_at) from mart.fact_listens where listened_at < %(before)s;

-- name: copy_tracks
-- One row per track that the source still has, with its attributes, ordered by id.
copy (
    select track_id, artist, genres from mart.dim_tracks where removed_at is null order by track_id
) to stdout (format csv);

-- name: copy_users
-- One row per user that the source still has, with their favourite genre. A text of over 100 characters counts as none.
copy (
    select user_id, case when length(favorite_genres) <= 100 then favorite_genres else '' end
    from mart.dim_users where removed_at is null
) to stdout (format csv);

-- name: copy_plays
-- One row per user and track ever played, by user and track. last_played_at in seconds since 1970.
copy (
    select user_id, track_id, plays::integer, floor(extract(epoch from last_played_at))::bigint
    from mart.user_track_plays
    order by user_id, track_id
) to stdout (format binary);

-- name: copy_play_log
-- The plays before a moment, by user and track: one row per user and track played before `begin`, with the time of the
-- last play, and one row per later play. Times in seconds since 1970.
copy (
    select user_id, track_id, plays, floor(extract(epoch from played_at))::bigint
    from (
        select user_id, track_id, count(*)::integer as plays, max(listened_at) as played_at
        from mart.fact_listens
        where listened_at < %(begin)s
        group by user_id, track_id
        union all
        select user_id, track_id, 1, listened_at
        from mart.fact_listens
        where listened_at >= %(begin)s and listened_at < %(before)s
    ) as plays
    order by user_id, track_id, played_at
) to stdout (format binary);

-- name: copy_negative_feedback
-- One row per user and track whose last answer before a moment is `not useful`. updated_at in seconds since 1970.
-- `user_ids` is null for all users.
copy (
    select user_id, track_id, floor(extract(epoch from updated_at))::bigint
    from (
        select distinct on (user_id, track_id) user_id, track_id, useful, updated_at
        from ml.feedback
        where updated_at < %(before)s and (%(user_ids)s::bigint[] is null or user_id = any(%(user_ids)s::bigint[]))
        order by user_id, track_id, updated_at desc
    ) as last_answers
    where not useful
) to stdout (format csv);

-- name: copy_hidden_tracks
-- One row per user and track that the user has hidden. `user_ids` is null for all users.
copy (
    select distinct user_id, track_id
    from ml.reactions
    where kind = 'hide' and (%(user_ids)s::bigint[] is null or user_id = any (%(user_ids)s::bigint[]))
) to stdout (format csv);
