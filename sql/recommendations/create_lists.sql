-- One row per listener and rank: the partition of a publication before it is one, bare for a quick load.
create table {table} (
    publication_id bigint not null,
    user_id bigint not null,
    rank integer not null,
    track_id bigint not null,
    score double precision not null
)
