-- One row per user of the batch that differs from what is published.
create unlogged table {table} (
    id bigint not null,
    first_name text not null,
    last_name text not null,
    email text not null,
    gender text not null,
    favorite_genres text not null,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    row_hash bigint not null,
    is_new boolean not null
)
