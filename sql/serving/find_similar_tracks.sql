-- One row per requested track, in the order requested, from one snapshot: whether a publication is live, whether the track
-- is known, and the response as JSON text. `counts` limits the similar tracks of each. Removed tracks leave no gap in the
-- ranks.
select
    live.publication_id is not null as live,
    known_track.track_id is not null as known,
    case when live.publication_id is not null and known_track.track_id is not null then json_build_object(
        'track_id', request.track_id,
        'publication_id', live.publication_id,
        'published_at', live.live_from,
        'similar', coalesce(similar_tracks.tracks, '[]'::json)
    )::text end as response
from unnest(%(ids)s::bigint[], %(counts)s::integer[]) with ordinality as request (track_id, n, number)
left join (
    select publication_id, live_from from ml.live_publications order by live_id desc limit 1
) as live on true
left join lateral (
    select track_id from mart.dim_tracks
    where track_id = request.track_id and removed_at is null
    offset 0
) as known_track on true
left join lateral (
    select json_agg(track order by rank) as tracks
    from (
        select
            row_number() over (order by item.rank) as rank, track.track_id, track.title, track.artist, item.score
        from ml.similar_tracks as item
        cross join lateral (
            select track_id, name as title, artist from mart.dim_tracks
            where track_id = item.similar_track_id and removed_at is null
            offset 0
        ) as track
        where item.publication_id = live.publication_id and item.track_id = known_track.track_id
        order by item.rank
        limit request.n
    ) as track
) as similar_tracks on true
order by request.number;
