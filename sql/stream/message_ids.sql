-- name: lock_subscription
-- The number of the subscription, if it was consumed before. Locked until the transaction ends.
select subscription_id from stream.subscriptions where subscription = %(subscription)s for update;

-- name: add_subscription
-- Adds a subscription. Does nothing if another consumer was faster.
insert into stream.subscriptions (subscription, messages) values (%(subscription)s, 0) on conflict do nothing;

-- name: add_messages
-- One row per message that was not recorded before.
insert into stream.message_ids (subscription_id, message_id, published_at)
select %(subscription_id)s, message.message_id, message.published_at
from unnest(%(message_ids)s::text[], %(published_at)s::timestamptz[]) as message (message_id, published_at)
on conflict do nothing
returning message_id, published_at;

-- name: count_messages
-- Counts new messages, in the transaction that stores them.
update stream.subscriptions set messages = messages + %(messages)s where subscription_id = %(subscription_id)s;

-- name: delete_old
-- The oldest messages that were published before a moment.
delete from stream.message_ids
where (subscription_id, published_at, message_id) in (
    select subscription_id, published_at, message_id
    from stream.message_ids
    where subscription_id = %(subscription_id)s and published_at < %(before)s
    order by published_at
    limit %(max_rows)s
);

-- name: find_message_count
-- At most one row: how many messages of the subscription are stored.
select messages from stream.subscriptions where subscription = %(subscription)s;
