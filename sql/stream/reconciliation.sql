-- name: reconcile_sessions
-- One row per batch of sessions: how many streamed sessions it confirmed, with other plays than they had, and how many were
-- dropped, because no snapshot had them in time. The snapshot wins: a confirmed session counts as the warehouse has it. A
-- session that grew after the snapshot was read stays unconfirmed. A parked session is not dropped: the consumer rejects it.
with confirmed as (
    update stream.sessions as session
    set confirmed_by = %(batch_id)s
    from warehouse.listen_history as published
    where session.confirmed_by is null
        and published.user_id = session.user_id
        and published.created_at = session.created_at
        and published.removed_at is null
        and published.updated_at >= session.updated_at
    returning
        session.items is distinct from (
            select coalesce(array_agg(play.track_id order by play.position), array[]::bigint[])
            from warehouse.listen_history_tracks as play
            where play.listen_history_id = published.id and play.created_at = published.created_at
        ) as differs
),

dropped as (
    delete from stream.sessions as session
    where session.confirmed_by is null
        and not session.is_parked and session.received_at < %(before)s
        and not exists (
            select
            from warehouse.listen_history as published
            where published.user_id = session.user_id and published.created_at = session.created_at
                and published.removed_at is null
                and published.updated_at >= session.updated_at
        )
    returning 1
)

insert into stream.reconciliations (batch_id, confirmed, differing, dropped, reconciled_at)
select
    %(batch_id)s,
    (select count(*) from confirmed),
    (select count(*) from confirmed where differs),
    (select count(*) from dropped),
    %(now)s;

-- name: delete_confirmed
-- Confirmed sessions that were received before a moment. A message that repeats one later is confirmed at once.
delete from stream.sessions where confirmed_by is not null and received_at < %(before)s;
