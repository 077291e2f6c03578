-- name: create_incoming
-- The sessions of one batch of messages, in the order of the messages. Emptied at the end of each transaction.
create temporary table if not exists incoming_sessions (
    user_id bigint not null,
    created_at timestamp not null,
    updated_at timestamp not null,
    items bigint[] not null,
    partition integer,
    "offset" bigint,
    message_id text
) on commit delete rows;

-- name: lock_suppression_list
-- Held until the transaction ends. An erasure takes the exclusive lock when it suppresses a user, so it sees every session
-- that was stored before, and the batches after it see the suppressed user.
select pg_advisory_xact_lock_shared(%(lock)s);

-- name: release_parked
-- At most `max_sessions` parked sessions whose user and tracks are published now. Waiting for a session that another consumer
-- has locked could be a deadlock; that consumer releases it itself. The next two statements do the same.
with released as (
    select session.user_id, session.created_at
    from stream.sessions as session
    where session.is_parked
        and exists (select from mart.dim_users as known_user where known_user.user_id = session.user_id)
        and not exists (
            select
            from unnest(session.items) as item (track_id)
            where not exists (select from mart.dim_tracks as known_track where known_track.track_id = item.track_id)
        )
    limit %(max_sessions)s
    for update of session skip locked
)

update stream.sessions as session
set is_parked = false, change_id = nextval('stream.change_ids')
from released
where session.user_id = released.user_id and session.created_at = released.created_at;

-- name: confirm_published
-- At most `max_sessions` sessions that the warehouse has. The transaction that published them could not see or had to skip
-- them, because they were stored meanwhile. Counts them with the newest batch of sessions in `stream.reconciliations`, and
-- returns one row: how many.
with published as (
    select session.user_id, session.created_at, published.batch_id, published.id
    from stream.sessions as session
    join warehouse.listen_history as published
        on published.user_id = session.user_id
        and published.created_at = session.created_at
        and published.removed_at is null
        and published.updated_at >= session.updated_at
    where session.confirmed_by is null
    limit %(max_sessions)s
    for update of session skip locked
),

confirmed as (
    update stream.sessions as session
    set confirmed_by = published.batch_id
    from published
    where session.user_id = published.user_id and session.created_at = published.created_at
    returning
        session.items is distinct from (
            select coalesce(array_agg(play.track_id order by play.position), array[]::bigint[])
            from warehouse.listen_history_tracks as play
            where play.listen_history_id = published.id and play.created_at = published.created_at
        ) as differs
),

counted as (
    insert into stream.reconciliations (batch_id, confirmed, differing, dropped, reconciled_at)
    select %(newest_batch)s, count(*), count(*) filter (where differs), 0, %(now)s
    from confirmed
    having count(*) > 0
)

select count(*) from confirmed;

-- name: delete_overdue_parked
-- One row per parked session that was received before a moment, at most `max_sessions`: its user, its content as JSON text,
-- and its message. A confirmed session is in the warehouse, so nothing of it is rejected.
with overdue as (
    select user_id, created_at
    from stream.sessions
    where is_parked and confirmed_by is null and received_at < %(before)s
    order by received_at
    limit %(max_sessions)s
    for update skip locked
)

delete from stream.sessions as session
using overdue
where session.user_id = overdue.user_id and session.created_at = overdue.created_at
returning
    session.user_id,
    json_build_object(
        'user_id', session.user_id,
        'items', session.items,
        'created_at', to_char(session.created_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US'),
        'updated_at', to_char(session.updated_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US')
    )::text as raw_json,
    session.topic,
    session.partition,
    session."offset",
    session.message_id;

-- name: find_newest_time
-- One row: when the newest session that no batch has confirmed began; null if there is none.
select max(created_at)
from stream.sessions
where confirmed_by is null and created_at <= %(now)s;

-- name: copy_plays_of_users
-- One row per user and track played: published and streamed sessions together, with the time of the last play in seconds
-- since 1970. A streamed session replaces the published version of the same session, also while it is parked. Tracks that
-- were never published are included.
copy (
    with streamed as (
        select user_id, created_at, items
        from stream.sessions
        where user_id = any (%(user_ids)s) and confirmed_by is null
    ),

    plays as (
        select user_id, track_id, plays::bigint as plays, last_played_at
        from mart.user_track_plays
        where user_id = any (%(user_ids)s)
        union all
        select streamed.user_id, item.track_id, 1, streamed.created_at
        from streamed
        cross join lateral unnest(streamed.items) as item (track_id)
        union all
        select streamed.user_id, play.track_id, -1, null
        from streamed
        join warehouse.listen_history as published
            on published.user_id = streamed.user_id
            and published.created_at = streamed.created_at
            and published.removed_at is null
        join warehouse.listen_history_tracks as play
            on play.listen_history_id = published.id and play.created_at = published.created_at
    )

    select user_id, track_id, sum(plays)::bigint, floor(extract(epoch from max(last_played_at)))::bigint
    from plays
    group by user_id, track_id
    having sum(plays) > 0
    order by user_id, track_id
) to stdout (format csv);
