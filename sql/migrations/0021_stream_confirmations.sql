-- The consumer counts the sessions that it confirms.

grant insert on stream.reconciliations to moovitamix_stream;

comment on table stream.reconciliations is
    'One row per batch of sessions and time that it was published, or that a consumer confirmed sessions stored meanwhile.';
comment on column stream.reconciliations.confirmed is
    'Streamed sessions that were confirmed. A session that is stored after its batch was published is not counted.';
comment on column stream.reconciliations.reconciled_at is 'When the batch was published, or the consumer confirmed.';
