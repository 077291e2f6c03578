-- One row per requested user, in the order requested, from one snapshot: whether a publication is live, whether the user
-- is known, and the response as JSON text. `counts` limits the tracks of each user. A user gets the first list that has
-- tracks: their fresh one (if `fresh`), their published one, that of their favourite genre, or that of all users. Removed
-- tracks leave no gap in the ranks. `limit 1` over the ordered sources stops at the first list with tracks, so the other
-- lists are not read, and none of them for a user with a fresh one.
-- `offset 0` keeps every step a lookup by key, even while a new publication has no statistics.
select
    live.publication_id is not null as live,
    known_user.user_id is not null as known,
    case when live.publication_id is not null and known_user.user_id is not null then json_build_object(
        'user_id', request.user_id,
        'publication_id', live.publication_id,
        'published_at', live.live_from,
        'as_of', coalesce(fresh.as_of, live.data_as_of),
        'fallback', fresh.as_of is null and coalesce(list.source, '') <> 'user',
        'recommendations', coalesce(fresh.tracks, list.tracks, '[]'::json)
    )::text end as response
from unnest(%(ids)s::bigint[], %(counts)s::integer[]) with ordinality as request (user_id, n, number)
left join (
    select live.publication_id, live.live_from, publication.data_as_of
    from (select publication_id, live_from from ml.live_publications order by live_id desc limit 1) as live
    join ml.publications as publication using (publication_id)
) as live on true
left join lateral (
    select user_id, favorite_genres from mart.dim_users
    where user_id = request.user_id and removed_at is null
    offset 0
) as known_user on true
left join lateral (
    select stored.as_of, ranked.tracks
    from ml.fresh_recommendations as stored
    cross join lateral (
        select json_agg(track order by rank) as tracks
        from (
            select
                row_number() over (order by item.rank) as rank, track.track_id, track.title, track.artist, item.score
            from unnest(stored.track_ids, stored.scores) with ordinality as item (track_id, score, rank)
            cross join lateral (
                select track_id, name as title, artist from mart.dim_tracks
                where track_id = item.track_id and removed_at is null
                offset 0
            ) as track
            order by item.rank
            limit request.n
        ) as track
    ) as ranked
    where %(fresh)s and stored.publication_id = live.publication_id and stored.user_id = known_user.user_id
        and ranked.tracks is not null
    offset 0
) as fresh on true
left join lateral (
    select source.source, ranked.tracks
    from (
        select priority, source
        from (values (1, 'user'), (2, 'genre'), (3, 'all users')) as sources (priority, source)
        where fresh.as_of is null
        order by priority
    ) as source
    cross join lateral (
        select json_agg(track order by rank) as tracks
        from (
            select
                row_number() over (order by item.rank) as rank, track.track_id, track.title, track.artist, item.score
            from (
                (
                    select rank, track_id, score from ml.recommendations
                    where source.source = 'user'
                        and publication_id = live.publication_id and user_id = known_user.user_id
                    order by rank
                )
                union all
                (
                    select rank, track_id, score from ml.fallbacks
                    where source.source <> 'user'
                        and publication_id = live.publication_id
                        and genre = case source.source when 'genre' then known_user.favorite_genres else '' end
                    order by rank
                )
            ) as item
            cross join lateral (
                select track_id, name as title, artist from mart.dim_tracks
                where track_id = item.track_id and removed_at is null
                offset 0
            ) as track
            order by item.rank
            limit request.n
        ) as track
    ) as ranked
    where ranked.tracks is not null
    order by source.priority
    limit 1
) as list on known_user.user_id is not null
order by request.number;
