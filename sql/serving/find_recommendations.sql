-- One row per requested user, in the order requested, from one snapshot: whether a publication is live, whether the user
-- is known, the response as JSON text, why the cursor has expired ('pruned', 'unknown' or 'changed'; null if not), and the
-- experiment and variant that the user got. `counts` limits the tracks of each user. `options` is null, or has the filters,
-- the cursor and `explain` of a request. During an experiment, a hash of the user and the experiment selects the publication.
-- A user gets the first list that has tracks: their fresh one (if `fresh`), their published one, that of their favourite
-- genre, or that of all users. If filters leave nothing of the first list that the user has, the response is empty. Removed and
-- hidden tracks leave no gap in the ranks. `limit 1` over the ordered sources stops at the first list with tracks, so the
-- other lists are not read. `offset 0` keeps every step a lookup by key, even while a new publication has no statistics.
with live as materialized (
    select
        newest.publication_id,
        newest.live_from,
        treatment.experiment_id,
        treatment.publication_id as treatment_publication_id,
        treatment.treatment_share * 65536 as treatment_hashes
    from (select live_id, publication_id, live_from from ml.live_publications order by live_id desc limit 1) as newest
    left join lateral (
        select experiment_id, publication_id, experiment.treatment_share
        from ml.experiment_publications as served
        join ml.experiments as experiment using (experiment_id)
        join ml.publications as publication using (publication_id)
        where served.live_id = newest.live_id and publication.pruned_at is null
        offset 0
    ) as treatment on true
)

select
    live.publication_id is not null as live,
    known_user.user_id is not null as known,
    case when live.publication_id is not null and known_user.user_id is not null then json_build_object(
        'user_id', request.user_id,
        'publication_id', served.publication_id,
        'published_at', served.published_at,
        'as_of', coalesce(list.as_of, served.data_as_of),
        'fallback', coalesce(list.source, '') not in ('fresh', 'user'),
        'recommendations', coalesce(list.tracks, '[]'::json),
        'next_cursor', list.next_cursor
    )::text end as response,
    case
        when choice.cursor_publication_id is null then null
        when served.publication_id is null and exists (
            select from ml.publications as publication
            where publication.publication_id = choice.cursor_publication_id and publication.pruned_at is not null
        ) then 'pruned'
        when served.publication_id is null then 'unknown'
        when choice.cursor_list = 'fresh' and list.source is null then 'changed'
        when choice.cursor_list = 'genre' and choice.cursor_version <> known_user.genre_hash then 'changed'
    end as expired,
    case when choice.cursor_publication_id is null and known_user.user_id is not null then live.experiment_id end
        as experiment_id,
    choice.is_treatment
from unnest(%(ids)s::bigint[], %(counts)s::integer[], %(options)s::jsonb[])
    with ordinality as request (user_id, n, options, number)
left join live on true
cross join lateral (
    select
        lower(request.options ->> 'genre') as genre,
        lower(request.options ->> 'artist') as artist,
        coalesce((request.options ->> 'new_only')::boolean, false) as new_only,
        coalesce((request.options ->> 'explain')::boolean, false) as explained,
        coalesce((request.options ->> 'filters')::boolean, false) as filters,
        (request.options ->> 'publication_id')::bigint as cursor_publication_id,
        request.options ->> 'list' as cursor_list,
        (request.options ->> 'version')::bigint as cursor_version,
        coalesce((request.options ->> 'rank')::bigint, 0) as after_rank,
        coalesce((request.options ->> 'shown')::bigint, 0) as shown,
        coalesce(
            (hashint8extended(request.user_id, live.experiment_id) & 65535) < live.treatment_hashes, false
        ) as is_treatment,
        case when request.options ? 'exclude'
            then array(select jsonb_array_elements_text(request.options -> 'exclude')::bigint)
        end as excluded
) as choice
left join lateral (
    select
        publication.publication_id,
        publication.data_as_of,
        case
            when publication.publication_id in (live.publication_id, live.treatment_publication_id) then live.live_from
            else coalesce(
                (
                    select earlier.live_from from ml.live_publications as earlier
                    where earlier.publication_id = publication.publication_id
                    order by earlier.live_id desc
                    limit 1
                ),
                publication.made_at
            )
        end as published_at
    from ml.publications as publication
    where publication.publication_id = coalesce(
            choice.cursor_publication_id,
            case when choice.is_treatment then live.treatment_publication_id else live.publication_id end
        )
        and publication.status = 'published'
        and publication.pruned_at is null
    offset 0
) as served on true
left join lateral (
    select
        user_id,
        favorite_genres,
        hashtext(favorite_genres)::bigint & 2147483647 as genre_hash,
        exists (
            select from ml.reactions as reaction
            where reaction.user_id = request.user_id and reaction.kind = 'hide'
        ) as hides,
        case when choice.new_only or choice.explained then array(
            select unnest(session.items) from stream.sessions as session
            where session.user_id = request.user_id and session.confirmed_by is null
        ) end as streamed_tracks
    from mart.dim_users
    where user_id = request.user_id and removed_at is null
    offset 0
) as known_user on true
left join lateral (
    select stored.as_of, stored.track_ids, stored.scores
    from ml.fresh_recommendations as stored
    where %(fresh)s
        and stored.publication_id = served.publication_id
        and stored.user_id = known_user.user_id
        and (
            choice.cursor_version is null
            or choice.cursor_version = (extract(epoch from stored.as_of) * 1000000)::bigint
        )
    offset 0
) as fresh on coalesce(choice.cursor_list, 'fresh') = 'fresh'
left join lateral (
    select source.source, page.as_of, page.tracks, page.next_cursor
    from (
        select priority, source
        from (values (1, 'fresh'), (2, 'user'), (3, 'genre'), (4, 'all')) as sources (priority, source)
        where source = coalesce(choice.cursor_list, source)
        order by priority
    ) as source
    cross join lateral (
        select
            max(track.as_of) as as_of,
            json_agg(
                case when choice.explained then to_json(explained_track) else to_json(shown_track) end
                order by track.position
            ) filter (where track.number <= request.n) as tracks,
            case when count(*) > request.n then concat_ws(
                '.',
                served.publication_id,
                source.source,
                max(track.position) filter (where track.number <= request.n),
                choice.shown + request.n,
                case source.source
                    when 'fresh' then (extract(epoch from max(track.as_of)) * 1000000)::bigint
                    when 'genre' then known_user.genre_hash
                end
            ) end as next_cursor
        from (
            select
                row_number() over (order by item.position) as number,
                item.position,
                item.as_of,
                item.because_track_id,
                item.score,
                described.track_id,
                described.title,
                described.artist
            from (
                (
                    select ranked.position, ranked.track_id, ranked.score, fresh.as_of, null::bigint as because_track_id
                    from unnest(fresh.track_ids, fresh.scores) with ordinality as ranked (track_id, score, position)
                    where source.source = 'fresh' and ranked.position > choice.after_rank
                    order by ranked.position
                )
                union all
                (
                    select rank, track_id, score, null, because_track_id from ml.recommendations
                    where source.source = 'user'
                        and publication_id = served.publication_id and user_id = known_user.user_id
                        and rank > choice.after_rank
                    order by rank
                )
                union all
                (
                    select rank, track_id, score, null, null from ml.fallbacks
                    where source.source in ('genre', 'all')
                        and publication_id = served.publication_id
                        and genre = case source.source when 'genre' then known_user.favorite_genres else '' end
                        and rank > choice.after_rank
                    order by rank
                )
            ) as item
            cross join lateral (
                select track_id, name as title, artist from mart.dim_tracks
                where track_id = item.track_id and removed_at is null
                    and (choice.genre is null or lower(genres) = choice.genre)
                    and (choice.artist is null or lower(dim_tracks.artist) = choice.artist)
                offset 0
            ) as described
            where (choice.excluded is null or item.track_id <> all (choice.excluded))
                and (
                    not known_user.hides
                    or not exists (
                        select from ml.reactions as reaction
                        where reaction.user_id = known_user.user_id and reaction.track_id = item.track_id
                            and reaction.kind = 'hide'
                    )
                )
                and (
                    not choice.new_only
                    or not exists (
                        select from mart.user_track_plays as played
                        where played.user_id = known_user.user_id and played.track_id = item.track_id
                    )
                    and item.track_id <> all (known_user.streamed_tracks)
                )
            order by item.position
            limit request.n + 1
        ) as track
        cross join lateral (
            select choice.shown + track.number as rank, track.track_id, track.title, track.artist, track.score
        ) as shown_track
        cross join lateral (
            select
                shown_track.rank,
                track.track_id,
                track.title,
                track.artist,
                track.score,
                case
                    when not choice.explained then null
                    when source.source = 'all' then json_build_object(
                        'kind', 'popular', 'track_id', null, 'title', null, 'artist', null, 'genre', null,
                        'text', 'Popular with all users'
                    )
                    when source.source = 'genre' then json_build_object(
                        'kind', 'popular-in-genre', 'track_id', null, 'title', null, 'artist', null,
                        'genre', known_user.favorite_genres,
                        'text', 'Popular with users who prefer ' || known_user.favorite_genres
                    )
                    else (
                        select json_build_object(
                            'kind', 'played', 'track_id', played_track.track_id, 'title', played_track.name,
                            'artist', played_track.artist, 'genre', null,
                            'text', 'Because you played ' || played_track.name || ' by ' || played_track.artist
                        )
                        from mart.dim_tracks as played_track
                        where played_track.removed_at is null
                            and played_track.track_id = case source.source
                                when 'user' then track.because_track_id
                                else (
                                    select similar_track.similar_track_id
                                    from ml.similar_tracks as similar_track
                                    where similar_track.publication_id = served.publication_id
                                        and similar_track.track_id = track.track_id
                                        and (
                                            exists (
                                                select from mart.user_track_plays as played
                                                where played.user_id = known_user.user_id
                                                    and played.track_id = similar_track.similar_track_id
                                            )
                                            or similar_track.similar_track_id = any (known_user.streamed_tracks)
                                        )
                                    order by similar_track.rank
                                    limit 1
                                )
                            end
                    )
                end as reason
        ) as explained_track
    ) as page
    where page.tracks is not null
        or choice.filters and case source.source
            when 'fresh' then fresh.as_of is not null
            when 'user' then exists (
                select from ml.recommendations as listed
                where listed.publication_id = served.publication_id and listed.user_id = known_user.user_id
            )
            else exists (
                select from ml.fallbacks as listed
                where listed.publication_id = served.publication_id
                    and listed.genre = case source.source when 'genre' then known_user.favorite_genres else '' end
            )
        end
    order by source.priority
    limit 1
) as list on known_user.user_id is not null and served.publication_id is not null
order by request.number;
