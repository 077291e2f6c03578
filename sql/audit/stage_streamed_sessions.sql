-- One row per streamed session that was stored since a moment, with what its rules compare. Figures about users and tracks
-- are null for parked sessions, which wait for them. `user_is_erased`: the session was stored after its user was erased, or
-- still exists long after.
create unlogged table {table} as
select
    session.user_id,
    session.created_at,
    session.updated_at,
    cardinality(session.items) as plays,
    extract(epoch from greatest(session.created_at, session.updated_at) - session.received_at)::double precision
        as seconds_ahead,
    case when not session.is_parked then (known_user.user_id is null)::integer end as user_is_unknown,
    case
        when not session.is_parked then (
            select count(*)
            from unnest(session.items) as item (track_id)
            where not exists (select from mart.dim_tracks as track where track.track_id = item.track_id)
        )
    end as unknown_tracks,
    (erased.user_id is not null)::integer as user_is_erased
from stream.sessions as session
left join mart.dim_users as known_user on known_user.user_id = session.user_id
left join unnest(%(erased_ids)s::bigint[], %(erased_at)s::timestamptz[]) as erased (user_id, erased_at)
    on erased.user_id = session.user_id
    and (erased.erased_at < session.received_at or erased.erased_at < %(erased_before)s)
where session.received_at > %(since)s;
