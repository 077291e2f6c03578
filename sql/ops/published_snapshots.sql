-- name: find_published_snapshot
-- The last published snapshot of an endpoint, if it is recorded.
select
    batch_id, shaping, pages, pages_to_decode, rejected_rows, rows_to_decode, plays_landed, unknown_fields,
    rows_with_unknown_fields,
    newest_updated_at at time zone 'UTC' as newest_updated_at, newest_rows,
    latest at time zone 'UTC' as latest,
    newest_until at time zone 'UTC' as newest_until,
    live_rows, live_rows_digest
from ops.published_snapshots
where endpoint = %(endpoint)s;

-- name: delete_published_snapshot
-- Forgets the published snapshot of an endpoint: the next one is decoded completely.
delete from ops.published_snapshots where endpoint = %(endpoint)s;

-- name: insert_published_snapshot
-- Records what recognises the rows of a published snapshot. Times without a zone are UTC.
insert into ops.published_snapshots (
    endpoint, batch_id, shaping, pages, pages_to_decode, rejected_rows, rows_to_decode, plays_landed, unknown_fields,
    rows_with_unknown_fields, newest_updated_at, newest_rows, latest, newest_until, live_rows, live_rows_digest
)
values (
    %(endpoint)s, %(batch_id)s, %(shaping)s, %(pages)s, %(pages_to_decode)s::integer[], %(rejected_rows)s,
    %(rows_to_decode)s, %(plays_landed)s, %(unknown_fields)s, %(rows_with_unknown_fields)s,
    %(newest_updated_at)s::timestamp at time zone 'UTC', %(newest_rows)s, %(latest)s::timestamp at time zone 'UTC',
    %(newest_until)s::timestamp at time zone 'UTC', %(live_rows)s, %(live_rows_digest)s
);

-- name: digest_live_rows
-- The number of the published rows that are not removed, and a digest of their ids and contents.
select
    count(*),
    coalesce(bit_xor(hashint8extended({key}, row_hash)), 0)
from {table}
where removed_at is null;
