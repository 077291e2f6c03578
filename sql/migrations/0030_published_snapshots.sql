-- ops: what recognises the rows of the last published snapshots by their bytes, so that unchanged rows are not decoded.

-- One row per endpoint. It is replaced in the transaction that publishes a batch.
create table ops.published_snapshots (
    endpoint text primary key,
    batch_id text not null references ops.batches,
    shaping text not null,
    pages bytea not null,
    pages_to_decode integer[] not null,
    rejected_rows bytea not null,
    rows_to_decode bytea not null,
    plays_landed bigint not null,
    unknown_fields text not null,
    rows_with_unknown_fields bigint not null,
    newest_updated_at timestamptz,
    newest_rows bigint not null,
    latest timestamptz not null,
    newest_until timestamptz not null,
    live_rows bigint not null,
    live_rows_digest bigint not null
);

grant select, insert, delete on ops.published_snapshots to moovitamix_ingest;

comment on table ops.published_snapshots is
    'One row per endpoint: what recognises the rows of its last published snapshot by their bytes.';
comment on column ops.published_snapshots.endpoint is 'Endpoint of the snapshot.';
comment on column ops.published_snapshots.batch_id is 'Batch of the snapshot; its landed pages are compared.';
comment on column ops.published_snapshots.shaping is
    'Digest of all that decides what a raw row becomes. Under another, every row is decoded again.';
comment on column ops.published_snapshots.pages is 'Digest of 16 bytes of the rows of each page, in order.';
comment on column ops.published_snapshots.pages_to_decode is
    'Numbers of the pages that are compared row by row even if their digest is the same.';
comment on column ops.published_snapshots.rejected_rows is 'Digests of 8 bytes of the rejected rows.';
comment on column ops.published_snapshots.rows_to_decode is
    'Digests of 8 bytes of other rows that are decoded again: rows that share a key, and others.';
comment on column ops.published_snapshots.plays_landed is 'Plays in the snapshot.';
comment on column ops.published_snapshots.unknown_fields is 'Rows by undocumented field, as JSON text.';
comment on column ops.published_snapshots.rows_with_unknown_fields is 'Rows with an undocumented field.';
comment on column ops.published_snapshots.newest_updated_at is 'Newest update in the snapshot that is not after newest_until.';
comment on column ops.published_snapshots.newest_rows is 'Rows with this update.';
comment on column ops.published_snapshots.latest is 'Rows with a later time were rejected.';
comment on column ops.published_snapshots.newest_until is 'Later updates do not prove that the snapshot is fresh.';
comment on column ops.published_snapshots.live_rows is 'Rows of the endpoint that were not removed after the publication.';
comment on column ops.published_snapshots.live_rows_digest is
    'Digest of the ids and contents of these rows. If it differs, every row is decoded again.';
