-- One row per published session that the batch no longer has.
create unlogged table {table} (user_id bigint not null, created_at timestamptz not null)
