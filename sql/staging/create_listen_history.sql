-- One row per session of the batch that differs from what is published, its plays in order.
-- new_ordinal counts the new sessions in list order, from 1; null when the session is published already.
create unlogged table {table} (
    user_id bigint not null,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    items bigint[] not null,
    row_hash bigint not null,
    is_new boolean not null,
    new_ordinal bigint
)
