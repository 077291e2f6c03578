-- Popular tracks by period and genre.

-- One row per publication, period, lower-case genre ('' for all) and rank.
create table ml.popular_tracks (
    publication_id bigint not null references ml.publications,
    period text not null check (period in ('day', 'week', 'month', 'all')),
    genre text not null,
    rank integer not null,
    track_id bigint not null,
    users bigint not null,
    primary key (publication_id, period, genre, rank)
);

grant select, insert, delete on ml.popular_tracks to moovitamix_recommender;
grant select on ml.popular_tracks to moovitamix_serving, moovitamix_analyst;

comment on table ml.popular_tracks is
    'One row per publication, period, genre and rank: the tracks that most users have played. Deleted when the publication is pruned.';
comment on column ml.popular_tracks.publication_id is 'Publication. Its periods end where its plays end.';
comment on column ml.popular_tracks.period is 'day, week (7 days), month (30 days) or all.';
comment on column ml.popular_tracks.genre is 'Lower-case genre of the tracks; empty for all tracks.';
comment on column ml.popular_tracks.rank is 'Rank, from 1.';
comment on column ml.popular_tracks.track_id is 'Track.';
comment on column ml.popular_tracks.users is 'Users whose last play of the track is in the period.';
