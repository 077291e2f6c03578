-- What the serving API stores and reads: reactions, impressions, reasons, histories.

-- One row per user, track, publication (null if none is named), API key and kind of reaction. `useful` answers are in
-- ml.feedback.
create table ml.reactions (
    user_id bigint not null references warehouse.users,
    track_id bigint not null references warehouse.tracks,
    publication_id bigint references ml.publications,
    kind text not null check (kind in ('like', 'dislike', 'skip', 'complete', 'hide')),
    key_id text not null references serving.api_keys,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    unique nulls not distinct (user_id, track_id, publication_id, key_id, kind)
);
create index hidden_tracks on ml.reactions (user_id, track_id) where kind = 'hide';

-- One row per track that a client showed to a user, and time.
create table ml.impressions (
    user_id bigint not null references warehouse.users,
    publication_id bigint not null references ml.publications,
    track_id bigint not null references warehouse.tracks,
    shown_at timestamptz not null,
    rank integer not null check (rank > 0),
    key_id text not null references serving.api_keys,
    received_at timestamptz not null,
    is_recommended boolean not null,
    primary key (user_id, publication_id, track_id, shown_at)
);
create index on ml.impressions (publication_id);

alter table ml.recommendations add column if not exists because_track_id bigint;

-- New tracks, newest first. Serving finds those of a genre by its lower-case name, of which the index has the first 100
-- characters: a key of a btree has at most 2,704 bytes.
create index newest_tracks on warehouse.tracks (created_at desc, id desc) where removed_at is null;
create index newest_tracks_of_genres on warehouse.tracks (left(lower(genres), 100), created_at desc, id desc)
where removed_at is null;

grant select, insert, update on ml.reactions to moovitamix_serving;
grant select, insert on ml.impressions to moovitamix_serving;
grant select on ml.reactions to moovitamix_recommender, moovitamix_analyst;
grant select, delete on ml.impressions to moovitamix_recommender;
grant select on ml.impressions to moovitamix_analyst;
grant select on mart.user_track_plays, mart.fact_listens to moovitamix_serving;
grant select (user_id, items, confirmed_by) on stream.sessions to moovitamix_serving;

comment on table ml.reactions is
    'One row per user, track, publication, API key and kind: the reactions that clients sent. Answers about usefulness are in ml.feedback.';
comment on column ml.reactions.user_id is 'User (personal data).';
comment on column ml.reactions.track_id is 'Track.';
comment on column ml.reactions.publication_id is 'Publication that the client named; null if none.';
comment on column ml.reactions.kind is 'like, dislike, skip, complete or hide. A hidden track is not recommended to the user.';
comment on column ml.reactions.key_id is 'API key of the client.';
comment on column ml.reactions.created_at is 'When it was sent first.';
comment on column ml.reactions.updated_at is 'When it was sent last.';
comment on table ml.impressions is
    'One row per track that a client showed to a user, and time. Deleted when the publication is pruned.';
comment on column ml.impressions.user_id is 'User (personal data).';
comment on column ml.impressions.publication_id is 'Publication that the client named.';
comment on column ml.impressions.track_id is 'Track.';
comment on column ml.impressions.shown_at is 'When the client showed it, by the clock of the client; never in the future.';
comment on column ml.impressions.rank is 'Rank at which the client showed it, from 1.';
comment on column ml.impressions.key_id is 'API key of the client.';
comment on column ml.impressions.received_at is 'When it was stored.';
comment on column ml.impressions.is_recommended is
    'Whether the publication recommended the track to the user, as far as it was stored when the impression arrived.';
comment on column ml.recommendations.because_track_id is
    'The most similar track that the user has played; null if there is none.';
