-- warehouse: the published state, normalised. removed_at is the day whose snapshot no longer had the row; null while the
-- source has it.

create schema warehouse;

-- One row per user ever published.
create table warehouse.users (
    id bigint primary key,
    first_name text not null,
    last_name text not null,
    email text not null,
    gender text not null,
    favorite_genres text not null,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    removed_at timestamptz,
    row_hash bigint not null,
    batch_id text not null
);

-- One row per track ever published.
create table warehouse.tracks (
    id bigint primary key,
    name text not null,
    artist text not null,
    songwriters text not null,
    duration text not null,
    duration_seconds integer not null,
    genres text not null,
    album text not null,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    removed_at timestamptz,
    row_hash bigint not null,
    batch_id text not null
);

-- One row per session ever published. A month partition is created when a batch needs it.
create table warehouse.listen_history (
    id bigint not null,
    user_id bigint not null references warehouse.users,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    removed_at timestamptz,
    row_hash bigint not null,
    batch_id text not null,
    primary key (id, created_at),
    unique (user_id, created_at)
) partition by range (created_at);

-- One row per play. A session may contain a track twice. created_at is the start of the session and names the partition.
-- A foreign key connects the plays and sessions of a month. It is created with the month and checked against one month
-- instead of all (docs/adr/0003-foreign-keys-between-month-partitions.md).
create table warehouse.listen_history_tracks (
    listen_history_id bigint not null,
    position integer not null,
    track_id bigint not null references warehouse.tracks,
    created_at timestamptz not null,
    primary key (listen_history_id, position, created_at)
) partition by range (created_at);
