-- name: of_all_genres
-- One row: the newest tracks as JSON text, newest first. Of one genre there is a query of its own, which uses its index.
select json_build_object('tracks', coalesce(json_agg(track order by added_at desc, track_id desc), '[]'::json))::text
from (
    select track_id, name as title, artist, genres as genre, created_at as added_at
    from mart.dim_tracks
    where removed_at is null and created_at > %(since)s and created_at <= %(now)s
    order by created_at desc, track_id desc
    limit %(n)s
) as track;

-- name: of_one_genre
-- One row: the newest tracks of a genre, in any case, as JSON text, newest first.
select json_build_object('tracks', coalesce(json_agg(track order by added_at desc, track_id desc), '[]'::json))::text
from (
    select track_id, name as title, artist, genres as genre, created_at as added_at
    from mart.dim_tracks
    where removed_at is null
        and left(lower(genres), 100) = left(lower(%(genre)s), 100)
        and lower(genres) = lower(%(genre)s)
        and created_at > %(since)s and created_at <= %(now)s
    order by created_at desc, track_id desc
    limit %(n)s
) as track;
