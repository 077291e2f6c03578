-- One row per user of the day in `day_users`. `relevant` is the number of played tracks that the recommendation list could
-- contain. `hits` of them are in the first `k` of the list that the user saw when they played the track for the first time on
-- that day; `gain` is the sum of 1 / log2(rank + 1) of the hits. `popular_gain` is the same for the tracks that are popular
-- with all users, without those that the user had played if they are excluded. `sampled`: the history has the fresh
-- recommendations of the user, if any were shown. It has one in 2^n users and at most `max_users`; the consumer chooses them
-- by the same hash.
copy (
    with sample as (
        select greatest(0, max(ceil(log(2, greatest(publication.listeners, 1) / %(max_users)s::numeric))))::integer as n
        from ml.publications as publication
        where publication.publication_id in (select publication_id from day_users)
            and exists (
                select from ml.fresh_recommendation_history as history
                where history.publication_id = publication.publication_id and history.shown_from < %(day)s::date + 1
            )
    ),

    hits as (
        select day_user.user_id, recommendation.rank
        from day_users as day_user
        cross join lateral (
            select track_id, rank
            from ml.recommendations as ranked
            where ranked.publication_id = day_user.publication_id
                and ranked.user_id = day_user.user_id
                and ranked.rank <= %(k)s
            offset 0
        ) as recommendation
        join day_user_tracks as played
            on played.user_id = day_user.user_id and played.track_id = recommendation.track_id
        join day_lists as list on list.user_id = played.user_id and list.listened_at = played.first_at
        where played.is_relevant and list.fresh_track_ids is null
        union all
        select played.user_id, array_position(list.fresh_track_ids[:%(k)s], played.track_id)
        from day_lists as list
        join day_user_tracks as played on played.user_id = list.user_id and played.first_at = list.listened_at
        where played.is_relevant and list.fresh_track_ids is not null
    ),

    list_gain as (
        select
            user_id,
            count(*) as hits,
            sum(ln(2::double precision) / ln(rank + 1::double precision) order by rank) as gain
        from hits
        where rank is not null
        group by user_id
    ),

    popular_gain as (
        select
            day_user.user_id,
            sum(ln(2::double precision) / ln(popular.rank + 1::double precision) order by popular.rank) as gain
        from day_users as day_user
        cross join lateral (
            select fallback.track_id, row_number() over (order by fallback.rank) as rank
            from ml.fallbacks as fallback
            where fallback.publication_id = day_user.publication_id
                and fallback.genre = ''
                and (
                    not day_user.excludes_played
                    or not exists (
                        select from mart.user_track_plays as total
                        where total.user_id = day_user.user_id
                            and total.track_id = fallback.track_id
                            and total.first_played_at < day_user.first_at
                    )
                )
            order by fallback.rank
            limit %(k)s
        ) as popular
        join day_user_tracks as played on played.user_id = day_user.user_id and played.track_id = popular.track_id
        where played.is_relevant
        group by day_user.user_id
    ),

    lists as (
        select user_id, bool_or(has_list) as has_list
        from day_lists
        group by user_id
    ),

    plays as (
        select
            user_id,
            sum(plays)::bigint as plays,
            coalesce(sum(plays) filter (where is_new), 0)::bigint as plays_of_new,
            count(*) filter (where is_relevant) as relevant
        from day_user_tracks
        group by user_id
    )

    select
        day_user.user_id,
        day_user.live_id,
        day_user.publication_id,
        day_user.pruned::integer,
        lists.has_list::integer,
        (hashint8extended(day_user.user_id, 0) & ((1::bigint << sample.n) - 1) = 0)::integer as sampled,
        plays.plays,
        plays.plays_of_new,
        plays.relevant,
        coalesce(list_gain.hits, 0) as hits,
        coalesce(list_gain.gain, 0) as gain,
        coalesce(popular_gain.gain, 0) as popular_gain
    from day_users as day_user
    cross join sample
    join plays using (user_id)
    join lists using (user_id)
    left join list_gain using (user_id)
    left join popular_gain using (user_id)
    order by day_user.user_id
) to stdout (format csv);
