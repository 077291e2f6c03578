-- One row per asked track, in the order asked, from one snapshot: what is live, whether the track is known, and the
-- answer as JSON text. `n` is how many similar tracks each wants. Tracks that were removed since leave no gap.
select
    live.publication_id is not null as live,
    asked_track.track_id is not null as known,
    case when live.publication_id is not null and asked_track.track_id is not null then json_build_object(
        'track_id', asked.track_id,
        'publication_id', live.publication_id,
        'published_at', live.live_from,
        'similar', coalesce(similar_tracks.tracks, '[]'::json)
    )::text end as answer
from unnest(%(ids)s::bigint[], %(counts)s::integer[]) with ordinality as asked (track_id, n, number)
left join (
    select publication_id, live_from from ml.live_publications order by live_id desc limit 1
) as live on true
left join lateral (
    select track_id from mart.dim_tracks
    where track_id = asked.track_id and removed_at is null
    offset 0
) as asked_track on true
left join lateral (
    select json_agg(track order by rank) as tracks
    from (
        select
            row_number() over (order by listed.rank) as rank, track.track_id, track.title, track.artist, listed.score
        from ml.similar_tracks as listed
        cross join lateral (
            select track_id, name as title, artist from mart.dim_tracks
            where track_id = listed.similar_track_id and removed_at is null
            offset 0
        ) as track
        where listed.publication_id = live.publication_id and listed.track_id = asked_track.track_id
        order by listed.rank
        limit asked.n
    ) as track
) as similar_tracks on true
order by asked.number
