-- stream: listening sessions as they are consumed from the topic, and how far the topic was consumed.

create schema stream;
revoke all on schema stream from public;

-- Numbers every change of a session, so that recommendations say which changes they include.
create sequence stream.change_ids;

-- One row per streamed session. `confirmed_by` is the batch that published the session; null until then. A parked session
-- names a user or a track that was never published: it waits for the next batch of users or tracks, and is rejected when
-- it waits too long. `topic`, `partition` and "offset" are the message with the stored version.
create table stream.sessions (
    user_id bigint not null,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    items bigint[] not null,
    received_at timestamptz not null,
    change_id bigint not null default nextval('stream.change_ids'),
    is_parked boolean not null default false,
    confirmed_by text,
    topic text not null,
    partition integer not null,
    "offset" bigint not null,
    primary key (user_id, created_at)
);
create index unconfirmed_sessions on stream.sessions (user_id) where confirmed_by is null;
create index unconfirmed_session_times on stream.sessions (created_at) where confirmed_by is null and not is_parked;
create index parked_sessions on stream.sessions (received_at) where is_parked;

-- One row per topic and partition: the offset of the next message to consume. A topic that is deleted and created again
-- has another id.
create table stream.offsets (
    topic_id text not null,
    partition integer not null,
    next_offset bigint not null,
    messages bigint not null,
    primary key (topic_id, partition)
);

-- One row per batch of sessions and time that it was published: what it said about streamed sessions.
create table stream.reconciliations (
    batch_id text not null references ops.batches,
    confirmed bigint not null,
    differing bigint not null,
    dropped bigint not null,
    reconciled_at timestamptz not null
);
create index on stream.reconciliations (batch_id);

-- One row per user and publication whose streamed recommendations failed a check: the published ones stay. `change_id` is
-- the newest change that they included.
create table stream.failed_recommendations (
    publication_id bigint not null references ml.publications,
    user_id bigint not null,
    change_id bigint not null,
    reason text not null,
    failed_at timestamptz not null,
    primary key (publication_id, user_id)
);

-- One row per user and publication: recommendations that include streamed sessions, best first. They replace the user's
-- published ones while the publication is live. `as_of` is when the sessions were read.
create table ml.fresh_recommendations (
    publication_id bigint not null references ml.publications,
    user_id bigint not null,
    track_ids bigint[] not null,
    scores double precision[] not null,
    change_id bigint not null,
    as_of timestamptz not null,
    primary key (publication_id, user_id)
);

-- Rejected messages stand beside rejected rows. They come from no batch: topic, partition and offset say where from.
alter table ops.rejected_rows
    alter column batch_id drop not null,
    alter column row_position drop not null,
    add column topic text,
    add column partition integer,
    add column "offset" bigint,
    add column rejected_at timestamptz,
    add check (
        (batch_id is null) = (row_position is null)
        and (batch_id is null) <> (topic is null)
        and (topic is null) = (partition is null)
        and (topic is null) = ("offset" is null)
        and (topic is null) = (rejected_at is null)
    );

-- Stream: consumes sessions, and recommends from them. It knows users by id and favourite genre only.
grant usage on schema stream, ops, mart, ml, warehouse to moovitamix_stream;
grant usage on sequence stream.change_ids to moovitamix_stream;
grant select, insert, update, delete on stream.sessions, stream.failed_recommendations, ml.fresh_recommendations
    to moovitamix_stream;
grant select, insert, update on stream.offsets to moovitamix_stream;
grant select on ops.schema_version, ops.suppressed_listeners to moovitamix_stream;
grant select (batch_id, endpoint, day, revision, status, read_in_run) on ops.batches to moovitamix_stream;
grant insert on ops.rejected_rows to moovitamix_stream;
grant select on warehouse.listen_history, warehouse.listen_history_tracks to moovitamix_stream;
grant select on mart.dim_tracks, mart.user_track_plays to moovitamix_stream;
grant select (user_id, favorite_genres, created_at, removed_at) on mart.dim_users to moovitamix_stream;
grant select on ml.publications, ml.live_publications, ml.model_runs, ml.feedback to moovitamix_stream;

-- Ingest confirms sessions. Serving reads fresh recommendations. Analysts read both.
grant usage on schema stream to moovitamix_ingest, moovitamix_analyst, moovitamix_serving;
grant select, update, delete on stream.sessions to moovitamix_ingest;
grant insert on stream.reconciliations to moovitamix_ingest;
grant select on ml.fresh_recommendations to moovitamix_serving, moovitamix_recommender, moovitamix_analyst;
grant select on stream.sessions, stream.offsets, stream.reconciliations, stream.failed_recommendations
    to moovitamix_analyst;
grant select (topic, partition, "offset", rejected_at) on ops.rejected_rows to moovitamix_analyst;

comment on schema stream is 'Listening sessions as they are consumed from the topic, and how far it was consumed.';
comment on table stream.sessions is 'One row per streamed session, in its newest version.';
comment on column stream.sessions.user_id is 'User who listened (personal data).';
comment on column stream.sessions.created_at is 'Start of the session; with the user it identifies the session.';
comment on column stream.sessions.updated_at is 'When the source last changed the session.';
comment on column stream.sessions.items is 'Ids of the tracks played, in order.';
comment on column stream.sessions.received_at is 'When the stored version was consumed.';
comment on column stream.sessions.change_id is 'Number of the last change, ascending over all sessions.';
comment on column stream.sessions.is_parked is
    'Whether the user or a track was never published; the session waits for the next batch of users or tracks.';
comment on column stream.sessions.confirmed_by is
    'Batch that published the session, in this version or a newer one; null until then.';
comment on column stream.sessions.topic is 'Topic and its id, of the message with the stored version.';
comment on column stream.sessions.partition is 'Partition of that message.';
comment on column stream.sessions."offset" is 'Offset of that message in its partition.';
comment on table stream.offsets is
    'One row per topic and partition. A topic that is deleted and created again has another id.';
comment on column stream.offsets.topic_id is 'Id that the broker gave the topic.';
comment on column stream.offsets.partition is 'Partition of the topic, from 0.';
comment on column stream.offsets.next_offset is 'Offset of the next message to consume.';
comment on column stream.offsets.messages is
    'How many messages were consumed, each counted in the transaction that stored it.';
comment on table stream.reconciliations is
    'One row per batch of sessions and time that it was published: what it said about streamed sessions.';
comment on column stream.reconciliations.batch_id is 'Batch of sessions.';
comment on column stream.reconciliations.confirmed is 'Streamed sessions that the batch confirmed.';
comment on column stream.reconciliations.differing is
    'Confirmed sessions whose plays differ; those of the batch count.';
comment on column stream.reconciliations.dropped is
    'Streamed sessions that no snapshot had within STREAM_UNCONFIRMED_DAYS, and that were deleted.';
comment on column stream.reconciliations.reconciled_at is 'When the batch was published.';
comment on table stream.failed_recommendations is
    'One row per publication and user whose newest fresh recommendations failed a check; earlier ones stay.';
comment on column stream.failed_recommendations.publication_id is 'Publication whose model recommended.';
comment on column stream.failed_recommendations.user_id is 'User (personal data).';
comment on column stream.failed_recommendations.change_id is 'Newest change of a session that they included.';
comment on column stream.failed_recommendations.reason is 'Check that failed.';
comment on column stream.failed_recommendations.failed_at is 'When it failed.';
comment on table ml.fresh_recommendations is
    'One row per publication and user: recommendations that include streamed sessions. They replace the published ones while the publication is live.';
comment on column ml.fresh_recommendations.publication_id is 'Publication whose model recommended.';
comment on column ml.fresh_recommendations.user_id is 'User (personal data).';
comment on column ml.fresh_recommendations.track_ids is 'Recommended tracks, best first.';
comment on column ml.fresh_recommendations.scores is 'Score of each track, in the same order; comparable within the row.';
comment on column ml.fresh_recommendations.change_id is 'Newest change of a session that they include.';
comment on column ml.fresh_recommendations.as_of is 'When the sessions were read.';
comment on column ops.rejected_rows.topic is 'Topic and its id, of a streamed message; null for a row of a batch.';
comment on column ops.rejected_rows.partition is 'Partition of the message.';
comment on column ops.rejected_rows."offset" is 'Offset of the message in its partition.';
comment on column ops.rejected_rows.rejected_at is 'When the message was rejected.';
