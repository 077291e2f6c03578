-- stream: what the consumers did in each minute, for people and notifications.

-- One row per minute and consumer. Counts of several consumers add up. `commit_ages` and `list_ages` are histograms: element
-- n counts the messages that were older than bound n - 1 and at most bound n when they were stored, or when the user's fresh
-- recommendations were saved. The bounds are 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 2, 5, 10, 60 seconds and
-- infinity (core.age_histogram.AGE_BOUNDS).
create table stream.minutes (
    minute timestamptz not null,
    consumer_id uuid not null,
    topic text not null,
    messages bigint not null,
    plays bigint not null,
    rejected bigint not null,
    parked bigint not null,
    lists bigint not null,
    failed_lists bigint not null,
    lag_messages bigint,
    lag_seconds double precision not null,
    commit_ages bigint[] not null,
    list_ages bigint[] not null,
    written_at timestamptz not null,
    primary key (minute, consumer_id)
);

grant select, insert, update on stream.minutes to moovitamix_stream;
grant select, delete on stream.minutes to moovitamix_ingest;
grant select on stream.minutes to moovitamix_serving, moovitamix_analyst;
grant select (rejected_at) on ops.rejected_rows to moovitamix_ingest;

comment on table stream.minutes is
    'One row per minute and consumer: what it did. Counts of several consumers add up. Kept for RETENTION_DAYS.';
comment on column stream.minutes.minute is 'Start of the minute.';
comment on column stream.minutes.consumer_id is 'Random id of the process.';
comment on column stream.minutes.topic is 'Topic and its id, or Pub/Sub subscription, that it consumed last.';
comment on column stream.minutes.messages is 'Messages consumed.';
comment on column stream.minutes.plays is 'Plays that were new in them.';
comment on column stream.minutes.rejected is 'Messages and overdue parked sessions that were rejected.';
comment on column stream.minutes.parked is 'Sessions parked, because a user or track is unknown.';
comment on column stream.minutes.lists is 'Fresh recommendations saved.';
comment on column stream.minutes.failed_lists is 'Fresh recommendations that failed a check.';
comment on column stream.minutes.lag_messages is 'Messages of its partitions not consumed yet, when the row was written; null with Pub/Sub.';
comment on column stream.minutes.lag_seconds is
    'Seconds since all messages of its partitions were stored, when the row was written; 0 if none waited.';
comment on column stream.minutes.commit_ages is
    'Messages by age at their commit, at most 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 2, 5, 10, 60 seconds, and older.';
comment on column stream.minutes.list_ages is
    'Messages by age when the fresh recommendations of their users were saved, in the same steps.';
comment on column stream.minutes.written_at is 'When the row was last written.';
