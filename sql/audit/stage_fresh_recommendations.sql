-- One row per fresh recommendation list of the live publication since a moment, with what its rules compare. If there are
-- more than `max_lists`, a hash of the users selects a sample. A list is compared with the sessions that it includes.
-- Figures about users, tracks and plays are null for a list from before the newest batch or from the minute after it,
-- because the consumer may have read the marts before the batch. `seconds_before_session`: how much later than the list its
-- newest session began.
create unlogged table {table} as
with listed as (
    select
        fresh.*,
        publication.excludes_played and %(excludes_played)s as excludes_played,
        fresh.as_of > coalesce(
            (select max(finished_at) from ops.batches where status = 'published') + interval '1 minute', '-infinity'
        ) as is_current
    from ml.fresh_recommendations as fresh
    join ml.publications as publication using (publication_id)
    where fresh.as_of > %(since)s
        and fresh.publication_id = (select publication_id from ml.live_publications order by live_id desc limit 1)
    order by hashint8extended(fresh.user_id, %(seed)s)
    limit %(max_lists)s
),

streamed as (
    select session.user_id, session.created_at, session.items, session.change_id <= listed.change_id as is_included
    from listed
    join stream.sessions as session using (user_id)
    where session.confirmed_by is null
),

items as (
    select listed.user_id, item.track_id, item.score, item.score > lag(item.score) over by_rank as rises
    from listed
    cross join lateral unnest(listed.track_ids, listed.scores) with ordinality as item (track_id, score, rank)
    window by_rank as (partition by listed.user_id order by item.rank)
),

plays as (
    select total.user_id, total.track_id, total.plays::bigint as plays, false as is_listed
    from listed
    join mart.user_track_plays as total using (user_id)
    union all
    select streamed.user_id, item.track_id, is_included::integer, false
    from streamed
    cross join lateral unnest(streamed.items) as item (track_id)
    union all -- a streamed session replaces its published version
    select streamed.user_id, play.track_id, -1, false
    from streamed
    join warehouse.listen_history as published
        on published.user_id = streamed.user_id
        and published.created_at = streamed.created_at
        and published.removed_at is null
    join warehouse.listen_history_tracks as play
        on play.listen_history_id = published.id and play.created_at = published.created_at
    where streamed.is_included
    union all
    select user_id, track_id, 0, true from items
),

-- A list may lack tracks that were played in any session, also in a session that it does not include yet.
of_plays as (
    select
        played.user_id,
        count(*) filter (where played.is_listed and played.plays > 0) as seen_tracks,
        count(track.track_id) filter (where played.is_played) as played_tracks
    from (
        select user_id, track_id, sum(plays) as plays, bool_or(is_listed) as is_listed, bool_or(not is_listed) as is_played
        from plays
        group by user_id, track_id
    ) as played
    left join mart.dim_tracks as track on track.track_id = played.track_id and track.removed_at is null
    group by played.user_id
),

of_hidden as (
    select listed.user_id, count(distinct reaction.track_id) as hidden_tracks
    from listed
    join ml.reactions as reaction on reaction.user_id = listed.user_id and reaction.kind = 'hide'
    group by listed.user_id
),

of_items as (
    select
        items.user_id,
        count(items.track_id) - count(distinct items.track_id) as repeated_tracks,
        count(*) filter (where track.track_id is null) as unknown_tracks,
        count(*) filter (where items.score in ('NaN', 'Infinity', '-Infinity')) as non_finite_scores,
        count(*) filter (where items.rises) as rising_scores
    from items
    left join mart.dim_tracks as track on track.track_id = items.track_id and track.removed_at is null
    group by items.user_id
)

select
    listed.user_id,
    listed.publication_id,
    listed.change_id,
    listed.as_of,
    cardinality(listed.track_ids) as tracks,
    abs(cardinality(listed.scores) - cardinality(listed.track_ids)) as tracks_without_score,
    greatest(0, cardinality(listed.track_ids) - %(per_user)s) as surplus_tracks,
    case when is_current then
        greatest(0, least(
            %(per_user)s,
            catalogue.tracks - coalesce(of_hidden.hidden_tracks, 0)
                - case when excludes_played then coalesce(of_plays.played_tracks, 0) else 0 end
        ) - cardinality(listed.track_ids))
    end as missing_tracks,
    coalesce(of_items.repeated_tracks, 0) as repeated_tracks,
    case when is_current then coalesce(of_items.unknown_tracks, 0) end as unknown_tracks,
    case when is_current and excludes_played then coalesce(of_plays.seen_tracks, 0) end as seen_tracks,
    coalesce(of_items.non_finite_scores, 0) as non_finite_scores,
    coalesce(of_items.rising_scores, 0) as rising_scores,
    case when is_current then (known_user.user_id is null)::integer end as user_is_unknown,
    (erased.user_id is not null)::integer as user_is_erased,
    extract(epoch from listed.as_of - %(now)s)::double precision as seconds_ahead,
    extract(epoch from newest.created_at - listed.as_of)::double precision as seconds_before_session
from listed
cross join (select count(*) as tracks from mart.dim_tracks where removed_at is null) as catalogue
left join of_plays using (user_id)
left join of_hidden using (user_id)
left join of_items using (user_id)
left join mart.dim_users as known_user on known_user.user_id = listed.user_id and known_user.removed_at is null
left join unnest(%(erased_ids)s::bigint[], %(erased_at)s::timestamptz[]) as erased (user_id, erased_at)
    on erased.user_id = listed.user_id
    and (erased.erased_at < listed.as_of or erased.erased_at < %(erased_before)s)
left join (select user_id, max(created_at) as created_at from streamed where is_included group by user_id) as newest
    on newest.user_id = listed.user_id;
