-- mart: what people and the recommender read, without names and e-mail addresses.

create schema mart;

-- One row per user.
create view mart.dim_users as
select id as user_id, gender, favorite_genres, created_at, updated_at, removed_at
from warehouse.users;

-- One row per track.
create view mart.dim_tracks as
select id as track_id, name, artist, songwriters, genres, album, duration, duration_seconds, created_at, updated_at, removed_at
from warehouse.tracks;

-- One row per play of a session that the source still has.
create view mart.fact_listens as
select
    play.listen_history_id,
    play.position,
    session.user_id,
    play.track_id,
    session.created_at as listened_at
from warehouse.listen_history_tracks as play
join warehouse.listen_history as session
    on session.id = play.listen_history_id and session.created_at = play.created_at
where session.removed_at is null;

-- One row per user and track played: the counts of mart.fact_listens. Each publication adds and subtracts what changed.
create table mart.user_track_plays (
    user_id bigint not null,
    track_id bigint not null,
    plays integer not null,
    first_played_at timestamptz not null,
    last_played_at timestamptz not null,
    primary key (user_id, track_id)
);
