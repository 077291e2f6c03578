-- One row per track and rank: the partition of a publication before it is one, bare for a quick load.
create table {table} (
    publication_id bigint not null,
    track_id bigint not null,
    rank integer not null,
    similar_track_id bigint not null,
    score double precision not null
)
