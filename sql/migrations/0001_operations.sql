-- ops: runs, batches, audit results and rejected rows. Rows are never pruned.

create schema staging;

-- One row per run. finished_at is null while it runs or after it was killed.
create table ops.runs (
    run_id bigint generated always as identity primary key,
    flow text not null,
    day date,
    started_at timestamptz not null,
    finished_at timestamptz,
    outcome text
);

-- One row per batch: endpoint, day and revision. A day that is fetched again on purpose is a new revision.
create table ops.batches (
    batch_id text primary key,
    endpoint text not null check (endpoint in ('tracks', 'users', 'listen_history')),
    day date not null,
    revision integer not null,
    source text not null,
    status text not null
        check (status in ('landed', 'staged', 'blocked', 'published', 'unchanged', 'failed')),
    rows_reported bigint,
    rows_landed bigint not null default 0,
    rows_rejected bigint not null default 0,
    rows_duplicate bigint not null default 0,
    rows_unchanged bigint not null default 0,
    rows_staged bigint not null default 0,
    rows_inserted bigint not null default 0,
    rows_updated bigint not null default 0,
    rows_removed bigint not null default 0,
    plays_rejected bigint not null default 0,
    unknown_fields jsonb not null default '{}',
    started_at timestamptz not null,
    finished_at timestamptz,
    reason text,
    unique (endpoint, day, revision)
);

-- One row per run and batch that it worked on. It shows whether the run that audited a batch ended or was killed.
create table ops.run_batches (
    run_id bigint not null references ops.runs,
    batch_id text not null references ops.batches,
    primary key (run_id, batch_id)
);

-- One row per batch and expectation of the last audit of that batch.
create table ops.expectation_results (
    batch_id text not null references ops.batches,
    expectation text not null,
    "column" text,
    severity text not null,
    success boolean not null,
    unexpected_count bigint,
    unexpected_share double precision,
    observed_value text,
    description text,
    unique nulls not distinct (batch_id, expectation, "column", description)
);

-- One row per row, or per play of a kept session, that breaks the contract of the API.
create table ops.rejected_rows (
    batch_id text not null references ops.batches,
    endpoint text not null,
    row_position bigint not null,
    play_position integer,
    raw_json text not null,
    reason text not null
);
create index on ops.rejected_rows (batch_id);

-- One row per row of a batch that fails an expectation about single rows, up to a limit per expectation.
create table ops.quarantined_rows (
    batch_id text not null references ops.batches,
    expectation text not null,
    "column" text,
    row_key text not null
);
create index on ops.quarantined_rows (batch_id);
