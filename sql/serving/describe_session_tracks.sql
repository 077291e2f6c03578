-- One row: the response to a session without an account as JSON text; null if nothing is live. The tracks of the model come
-- first, without removed ones. Tracks that are popular with all users fill the list; their scores are capped, so that scores
-- do not increase.
with publication as (
    select publication_id, live_from
    from ml.live_publications
    where publication_id = coalesce(
        %(publication_id)s::bigint, (select publication_id from ml.live_publications order by live_id desc limit 1)
    )
    order by live_id desc
    limit 1
),

personal as (
    select item.position, described.track_id, described.name as title, described.artist, item.score
    from unnest(%(track_ids)s::bigint[], %(scores)s::double precision[]) with ordinality
        as item (track_id, score, position)
    join mart.dim_tracks as described on described.track_id = item.track_id and described.removed_at is null
    order by item.position
    limit %(n)s
),

popular as (
    select
        fallback.rank,
        described.track_id,
        described.name as title,
        described.artist,
        least(fallback.score, (select min(score) from personal)) as score
    from ml.fallbacks as fallback
    join mart.dim_tracks as described on described.track_id = fallback.track_id and described.removed_at is null
    where fallback.publication_id = (select publication_id from publication)
        and fallback.genre = ''
        and fallback.track_id <> all (%(excluded)s::bigint[])
        and not exists (select from personal where personal.track_id = fallback.track_id)
    order by fallback.rank
    limit %(n)s
),

ranked as (
    select
        row_number() over (order by part, position) as rank, track_id, title, artist, score
    from (
        select 1 as part, position, track_id, title, artist, score from personal
        union all
        select 2, rank, track_id, title, artist, score from popular
    ) as tracks
    order by part, position
    limit %(n)s
)

select json_build_object(
    'publication_id', publication.publication_id,
    'published_at', publication.live_from,
    'known_tracks', %(known_tracks)s::integer,
    'fallback', not exists (select from personal),
    'recommendations', coalesce((select json_agg(ranked order by rank) from ranked), '[]'::json)
)::text as response
from publication;
