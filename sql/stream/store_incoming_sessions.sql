-- One row per session that is new or newer than the stored one. Older and repeated messages change nothing: the newest
-- `updated_at` is stored, then the version with most plays, then the greater list of tracks, in whatever order they come.
-- `new_plays` are the plays that the stored version did not have: the subquery reads it as it was before.
insert into stream.sessions as stored (
    user_id, created_at, updated_at, items, received_at, is_parked, confirmed_by, topic, partition, "offset",
    message_id
)
select
    newest.user_id,
    newest.created_at,
    newest.updated_at,
    newest.items,
    %(now)s,
    not exists (select from mart.dim_users as known_user where known_user.user_id = newest.user_id)
    or exists (
        select
        from unnest(newest.items) as item (track_id)
        where not exists (select from mart.dim_tracks as known_track where known_track.track_id = item.track_id)
    ),
    published.batch_id,
    %(topic)s,
    newest.partition,
    newest."offset",
    newest.message_id
from (
    select distinct on (user_id, created_at)
        user_id,
        created_at at time zone 'UTC' as created_at,
        updated_at at time zone 'UTC' as updated_at,
        items,
        partition,
        "offset",
        message_id
    from pg_temp.incoming_sessions
    order by user_id, created_at, updated_at desc, cardinality(items) desc, items desc, partition, "offset", message_id
) as newest
left join warehouse.listen_history as published
    on published.user_id = newest.user_id
    and published.created_at = newest.created_at
    and published.updated_at >= newest.updated_at
    and published.removed_at is null
-- A conflict locks the stored session, so a version that changes nothing does not reach it: it would wait for an ingest.
where not exists (
    select
    from stream.sessions as current_version
    where current_version.user_id = newest.user_id
        and current_version.created_at = newest.created_at
        and (current_version.updated_at, cardinality(current_version.items), current_version.items)
        >= (newest.updated_at, cardinality(newest.items), newest.items)
)
-- Two consumers that store versions of the same sessions wait for each other in the same order.
order by newest.user_id, newest.created_at
on conflict (user_id, created_at) do update
set
    updated_at = excluded.updated_at,
    items = excluded.items,
    received_at = excluded.received_at,
    change_id = nextval('stream.change_ids'),
    is_parked = excluded.is_parked,
    confirmed_by = excluded.confirmed_by,
    topic = excluded.topic,
    partition = excluded.partition,
    "offset" = excluded."offset",
    message_id = excluded.message_id
where (excluded.updated_at, cardinality(excluded.items), excluded.items)
    > (stored.updated_at, cardinality(stored.items), stored.items)
returning
    user_id,
    is_parked,
    confirmed_by is not null as is_confirmed,
    greatest(0, cardinality(items) - coalesce((
        select cardinality(previous.items)
        from stream.sessions as previous
        where previous.user_id = stored.user_id and previous.created_at = stored.created_at
    ), 0)) as new_plays;
