-- One row per listener of the day that was gathered. `heard` are the tracks that their list could name: `hits` of them
-- stand among its first so many, `gain` is the sum of 1 / log2(rank + 1) of these; `popular_gain` is the same of what
-- is popular with everyone, without what the listener had played.
copy (
    with named as (
        select
            listener.user_id,
            count(*) as hits,
            sum(ln(2::double precision) / ln(list.rank + 1::double precision) order by list.rank) as gain
        from day_users as listener
        cross join lateral (
            select track_id, rank
            from ml.recommendations as named
            where named.publication_id = listener.publication_id
                and named.user_id = listener.user_id
                and named.rank <= %(k)s
            offset 0
        ) as list
        join day_user_tracks as heard on heard.user_id = listener.user_id and heard.track_id = list.track_id
        where heard.could_be_named
        group by listener.user_id
    ),

    popular as (
        select listener.user_id, sum(ln(2::double precision) / ln(shown.rank + 1::double precision) order by shown.rank) as gain
        from day_users as listener
        cross join lateral (
            select popular.track_id, row_number() over (order by popular.rank) as rank
            from ml.fallbacks as popular
            where popular.publication_id = listener.publication_id
                and popular.genre = ''
                and (
                    not listener.excludes_played
                    or not exists (
                        select from mart.user_track_plays as counted
                        where counted.user_id = listener.user_id
                            and counted.track_id = popular.track_id
                            and counted.first_played_at < listener.first_at
                    )
                )
            order by popular.rank
            limit %(k)s
        ) as shown
        join day_user_tracks as heard on heard.user_id = listener.user_id and heard.track_id = shown.track_id
        where heard.could_be_named
        group by listener.user_id
    ),

    played as (
        select
            user_id,
            sum(plays)::bigint as plays,
            coalesce(sum(plays) filter (where is_new), 0)::bigint as plays_of_new,
            count(*) filter (where could_be_named) as heard
        from day_user_tracks
        group by user_id
    )

    select
        listener.publication_id,
        listener.pruned::integer,
        listener.has_list::integer,
        played.plays,
        played.plays_of_new,
        played.heard,
        coalesce(named.hits, 0) as hits,
        coalesce(named.gain, 0) as gain,
        coalesce(popular.gain, 0) as popular_gain
    from day_users as listener
    join played using (user_id)
    left join named using (user_id)
    left join popular using (user_id)
    order by listener.user_id
) to stdout (format csv);
