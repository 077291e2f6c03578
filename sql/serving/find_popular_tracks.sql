-- One row: the tracks that most users have played in a period before the live publication, as JSON text. No row before the
-- first publication. `genre` is '' for all genres.
select json_build_object(
    'publication_id', live.publication_id,
    'published_at', live.live_from,
    'tracks', coalesce(
        (
            select json_agg(track order by rank)
            from (
                select
                    row_number() over (order by popular.rank) as rank, described.track_id, described.name as title,
                    described.artist, described.genres as genre, popular.users
                from ml.popular_tracks as popular
                join mart.dim_tracks as described on described.track_id = popular.track_id and described.removed_at is null
                where popular.publication_id = live.publication_id
                    and popular.period = %(period)s
                    and popular.genre = lower(%(genre)s)
                order by popular.rank
                limit %(n)s
            ) as track
        ),
        '[]'::json
    )
)::text
from (select publication_id, live_from from ml.live_publications order by live_id desc limit 1) as live;
