-- ops: erased users without their data, and blocked batches that a person accepted.

-- One row per time that a user was erased, or allowed again. It holds no form of the id. `found` maps each place to the
-- number of rows or files of the user. `finished_at` is null while it runs or after it was killed: run it again.
create table ops.erasures (
    erasure_id bigint generated always as identity primary key,
    kind text not null check (kind in ('erased', 'allowed')),
    reason text not null,
    requested_by text not null,
    began_at timestamptz not null,
    finished_at timestamptz,
    found jsonb not null default '{}'
);

-- One row per erased user: the suppression list. Rows of the user are not stored again unless `allowed_at` is set.
-- `fingerprint` is a keyed hash of the id. `e_mails` are keyed hashes of known e-mail addresses, for rows without a readable
-- id. All rows have the same key, except those copied from another database.
create table ops.suppressed_listeners (
    key bytea not null,
    fingerprint bytea not null,
    e_mails bytea[] not null default '{}',
    erasure_id bigint references ops.erasures,
    erased_at timestamptz not null,
    allowed_at timestamptz,
    primary key (key, fingerprint)
);

-- Rows of erased users: landed = rejected + erased + duplicate + unchanged + staged.
alter table ops.batches add column rows_erased bigint not null default 0;

-- One row per time that a batch was published although critical expectations failed: who accepted it, why, and the failed
-- expectations as a list of objects with expectation, column, description and observed value. It holds for that time only.
create table ops.acceptances (
    acceptance_id bigint generated always as identity primary key,
    batch_id text not null references ops.batches,
    run_id bigint not null references ops.runs,
    reason text not null,
    accepted_by text not null,
    accepted_at timestamptz not null,
    waived jsonb not null
);

-- Rights (sql/migrations/0007_roles.sql): ingest removes rows of suppressed users and records acceptances. Only the owner
-- erases. To accept a batch, ingest reads the results of its last audit.
grant select on ops.suppressed_listeners to moovitamix_ingest;
grant insert on ops.acceptances to moovitamix_ingest;
grant select (batch_id, expectation, severity, success) on ops.expectation_results to moovitamix_ingest;
grant select (rows_erased) on ops.batches to moovitamix_serving, moovitamix_analyst;
grant select on ops.acceptances to moovitamix_serving, moovitamix_analyst;
