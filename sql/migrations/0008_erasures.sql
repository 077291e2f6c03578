-- ops: listeners whose data were erased, without the data; and bad batches that somebody let in, and why.

-- One row per time that a listener was erased, or allowed again after that. No form of the id is in it. `found` maps each
-- place to the rows or files that were theirs; `finished_at` is null while it runs, or when it was cut off: run it again.
create table ops.erasures (
    erasure_id bigint generated always as identity primary key,
    kind text not null check (kind in ('erased', 'allowed')),
    reason text not null,
    requested_by text not null,
    began_at timestamptz not null,
    finished_at timestamptz,
    found jsonb not null default '{}'
);

-- One row per listener who was erased: whatever the source still sends of them is turned away, unless `allowed_at` is
-- set. `fingerprint` is a keyed hash of the id; `e_mails` are such hashes of the e-mails they were known by, for rows that
-- name no id. All rows have the same key; those that came with a copy of another database have theirs.
create table ops.suppressed_listeners (
    key bytea not null,
    fingerprint bytea not null,
    e_mails bytea[] not null default '{}',
    erasure_id bigint references ops.erasures,
    erased_at timestamptz not null,
    allowed_at timestamptz,
    primary key (key, fingerprint)
);

-- Rows of erased listeners: landed = rejected + erased + duplicate + unchanged + staged.
alter table ops.batches add column rows_erased bigint not null default 0;

-- One row per time that a batch was published although critical expectations failed: who let it in, why, and which
-- failed, as a list of objects with expectation, column, description and what was observed. It holds for that time only.
create table ops.acceptances (
    acceptance_id bigint generated always as identity primary key,
    batch_id text not null references ops.batches,
    run_id bigint not null references ops.runs,
    reason text not null,
    accepted_by text not null,
    accepted_at timestamptz not null,
    waived jsonb not null
);

-- Who may do what (sql/migrations/0007_roles.sql): ingest turns erased listeners away and notes what was let in; who is
-- erased, the owner does. To accept, one must know what was found before.
grant select on ops.suppressed_listeners to moovitamix_ingest;
grant insert on ops.acceptances to moovitamix_ingest;
grant select (batch_id, expectation, severity, success) on ops.expectation_results to moovitamix_ingest;
grant select (rows_erased) on ops.batches to moovitamix_serving, moovitamix_analyst;
grant select on ops.acceptances to moovitamix_serving, moovitamix_analyst;
