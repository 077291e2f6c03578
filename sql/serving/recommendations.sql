-- One row per asked listener, in the order asked, from one snapshot: what is live, whether the listener is known, and
-- the answer as JSON text. `n` is how many tracks each wants. Tracks that were removed since leave no gap in the ranks.
-- `offset 0` keeps every step a look-up by key, however few statistics a new publication has.
select
    live.publication_id is not null as live,
    listener.user_id is not null as known,
    case when live.publication_id is not null and listener.user_id is not null then json_build_object(
        'user_id', asked.user_id,
        'publication_id', live.publication_id,
        'published_at', live.live_from,
        'fallback', own.tracks is null,
        'recommendations', coalesce(own.tracks, genre.tracks, everyone.tracks, '[]'::json)
    )::text end as answer
from unnest(%(ids)s::bigint[], %(counts)s::integer[]) with ordinality as asked (user_id, n, number)
left join (
    select publication_id, live_from from ml.live_publications order by live_id desc limit 1
) as live on true
left join lateral (
    select user_id, favorite_genres from mart.dim_users
    where user_id = asked.user_id and removed_at is null
    offset 0
) as listener on true
left join lateral (
    select json_agg(track order by rank) as tracks
    from (
        select
            row_number() over (order by listed.rank) as rank, track.track_id, track.title, track.artist, listed.score
        from ml.recommendations as listed
        cross join lateral (
            select track_id, name as title, artist from mart.dim_tracks
            where track_id = listed.track_id and removed_at is null
            offset 0
        ) as track
        where listed.publication_id = live.publication_id and listed.user_id = listener.user_id
        order by listed.rank
        limit asked.n
    ) as track
) as own on true
left join lateral (
    select json_agg(track order by rank) as tracks
    from (
        select
            row_number() over (order by listed.rank) as rank, track.track_id, track.title, track.artist, listed.score
        from ml.fallbacks as listed
        cross join lateral (
            select track_id, name as title, artist from mart.dim_tracks
            where track_id = listed.track_id and removed_at is null
            offset 0
        ) as track
        where listed.publication_id = live.publication_id and listed.genre = listener.favorite_genres
            and own.tracks is null
        order by listed.rank
        limit asked.n
    ) as track
) as genre on true
left join lateral (
    select json_agg(track order by rank) as tracks
    from (
        select
            row_number() over (order by listed.rank) as rank, track.track_id, track.title, track.artist, listed.score
        from ml.fallbacks as listed
        cross join lateral (
            select track_id, name as title, artist from mart.dim_tracks
            where track_id = listed.track_id and removed_at is null
            offset 0
        ) as track
        where listed.publication_id = live.publication_id and listed.genre = '' and listener.user_id is not null
            and own.tracks is null and genre.tracks is null
        order by listed.rank
        limit asked.n
    ) as track
) as everyone on true
order by asked.number
