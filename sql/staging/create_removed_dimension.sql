-- One row per published row that the batch no longer has.
create unlogged table {table} (id bigint not null)
