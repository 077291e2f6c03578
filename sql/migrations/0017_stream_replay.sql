-- A replay rejects messages again. Each stays one row.

create unique index rejected_messages on ops.rejected_rows (topic, partition, "offset", play_position)
    nulls not distinct
    where topic is not null and partition is not null;
comment on column stream.offsets.messages is
    'How many messages were consumed, each counted in the transaction that stored it; again when it is replayed.';
