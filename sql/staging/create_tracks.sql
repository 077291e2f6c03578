-- One row per track of the batch that differs from what is published.
create unlogged table {table} (
    id bigint not null,
    name text not null,
    artist text not null,
    songwriters text not null,
    duration text not null,
    duration_seconds integer not null,
    genres text not null,
    album text not null,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    row_hash bigint not null,
    is_new boolean not null
)
