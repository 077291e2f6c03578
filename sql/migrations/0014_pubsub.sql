-- pubsub: consumes a Google Pub/Sub subscription, and each message once.

-- One row per subscription. A transaction that stores messages locks the row first, so consumers store one after another.
create table stream.subscriptions (
    subscription_id integer generated always as identity primary key,
    subscription text not null unique,
    messages bigint not null
);

-- One row per message that was consumed and may be delivered again. The time is part of the key, because a server that
-- loses its data may give the same ids to other messages.
create table stream.message_ids (
    subscription_id integer not null,
    published_at timestamptz not null,
    message_id text not null,
    primary key (subscription_id, published_at, message_id)
);

-- A message has a partition and an offset, or a message id.
alter table stream.sessions
    alter column partition drop not null,
    alter column "offset" drop not null,
    add column message_id text,
    add check ((partition is null) = ("offset" is null) and (partition is null) <> (message_id is null));
alter table ops.rejected_rows
    drop constraint rejected_rows_check,
    add column message_id text,
    add check (
        (batch_id is null) = (row_position is null)
        and (batch_id is null) <> (topic is null)
        and (topic is null) = (partition is null and message_id is null)
        and (partition is null) = ("offset" is null)
        and (partition is null or message_id is null)
        and (topic is null) = (rejected_at is null)
    );

grant select, insert, update on stream.subscriptions to moovitamix_stream;
grant select, insert, delete on stream.message_ids to moovitamix_stream;
grant select on stream.subscriptions, stream.message_ids to moovitamix_analyst;
grant select (message_id) on ops.rejected_rows to moovitamix_analyst;

comment on table stream.subscriptions is 'One row per Google Pub/Sub subscription that was consumed.';
comment on column stream.subscriptions.subscription_id is 'Number of the subscription, from 1.';
comment on column stream.subscriptions.subscription is 'Name of the subscription: projects/.../subscriptions/...';
comment on column stream.subscriptions.messages is
    'How many messages were consumed, each counted in the transaction that stored it.';
comment on table stream.message_ids is
    'One row per consumed message that Pub/Sub may deliver again, deleted 32 days after the message was published.';
comment on column stream.message_ids.subscription_id is 'Subscription that delivered the message.';
comment on column stream.message_ids.published_at is 'When the message was published, by the clock of Pub/Sub.';
comment on column stream.message_ids.message_id is 'Id that Pub/Sub gave the message.';
comment on column stream.sessions.topic is
    'Topic and its id, or Pub/Sub subscription, of the message with the stored version.';
comment on column stream.sessions.partition is 'Partition of that message; null with Pub/Sub.';
comment on column stream.sessions."offset" is 'Offset of that message in its partition; null with Pub/Sub.';
comment on column stream.sessions.message_id is 'Pub/Sub id of that message; null with Kafka.';
comment on column ops.rejected_rows.topic is
    'Topic and its id, or Pub/Sub subscription, of a streamed message; null for a row of a batch.';
comment on column ops.rejected_rows.partition is 'Partition of the message; null with Pub/Sub.';
comment on column ops.rejected_rows."offset" is 'Offset of the message in its partition; null with Pub/Sub.';
comment on column ops.rejected_rows.message_id is 'Pub/Sub id of the message; null with Kafka.';
