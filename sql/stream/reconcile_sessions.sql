-- One row per batch of sessions: the number of streamed sessions that it confirmed, of those whose plays differed, and of
-- sessions that were dropped because no snapshot had them in time. The snapshot wins: a confirmed session counts as the
-- warehouse has it. A session that grew after the snapshot was read stays unconfirmed. A parked session is not dropped: the
-- consumer rejects it. Sessions that the consumer has locked are skipped, because waiting could deadlock. The consumer
-- confirms them after the batch is published.
with published as (
    select session.user_id, session.created_at, warehouse_session.id
    from stream.sessions as session
    join warehouse.listen_history as warehouse_session
        on warehouse_session.user_id = session.user_id
        and warehouse_session.created_at = session.created_at
        and warehouse_session.removed_at is null
        and warehouse_session.updated_at >= session.updated_at
    where session.confirmed_by is null
    for update of session skip locked
),

confirmed as (
    update stream.sessions as session
    set confirmed_by = %(batch_id)s
    from published
    where session.user_id = published.user_id and session.created_at = published.created_at
    returning
        session.items is distinct from (
            select coalesce(array_agg(play.track_id order by play.position), array[]::bigint[])
            from warehouse.listen_history_tracks as play
            where play.listen_history_id = published.id and play.created_at = published.created_at
        ) as differs
),

overdue as (
    select session.user_id, session.created_at
    from stream.sessions as session
    where session.confirmed_by is null
        and not session.is_parked and session.received_at < %(before)s
        and not exists (
            select
            from warehouse.listen_history as warehouse_session
            where warehouse_session.user_id = session.user_id and warehouse_session.created_at = session.created_at
                and warehouse_session.removed_at is null
                and warehouse_session.updated_at >= session.updated_at
        )
    for update of session skip locked
),

dropped as (
    delete from stream.sessions as session
    using overdue
    where session.user_id = overdue.user_id and session.created_at = overdue.created_at
    returning 1
)

insert into stream.reconciliations (batch_id, confirmed, differing, dropped, reconciled_at)
select
    %(batch_id)s,
    (select count(*) from confirmed),
    (select count(*) from confirmed where differs),
    (select count(*) from dropped),
    %(now)s;
