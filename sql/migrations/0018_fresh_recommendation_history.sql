-- The fresh recommendations that users saw, until the monitor has evaluated them.

-- One row per change of the fresh recommendations of a user in the sample. No tracks: they were removed, and serving showed
-- the published ones again. For a session, the newest row of the live publication with `shown_from` up to its start counts.
create table ml.fresh_recommendation_history (
    publication_id bigint not null references ml.publications,
    user_id bigint not null,
    history_id bigint generated always as identity,
    track_ids bigint[] not null,
    shown_from timestamptz not null,
    -- The time is part of the key so that a lookup by time reads the index only.
    primary key (publication_id, user_id, history_id, shown_from)
);
create index on ml.fresh_recommendation_history using brin (shown_from);

insert into ml.fresh_recommendation_history (publication_id, user_id, track_ids, shown_from)
select publication_id, user_id, track_ids, as_of from ml.fresh_recommendations;

grant select, insert, delete on ml.fresh_recommendation_history to moovitamix_stream;
grant select, delete on ml.fresh_recommendation_history to moovitamix_recommender;
grant select on ml.fresh_recommendation_history to moovitamix_analyst;

comment on table ml.fresh_recommendation_history is
    'One row per change of the fresh recommendations of a user in the sample, until the monitor has evaluated it.';
comment on column ml.fresh_recommendation_history.publication_id is 'Publication whose model recommended.';
comment on column ml.fresh_recommendation_history.user_id is 'User (personal data).';
comment on column ml.fresh_recommendation_history.history_id is 'Ascends in the order of changes.';
comment on column ml.fresh_recommendation_history.track_ids is
    'Recommended tracks, best first. Empty: removed, so that serving shows the published ones.';
comment on column ml.fresh_recommendation_history.shown_from is
    'When the sessions were read, or the start of the newest of them if that is later; when the row with no tracks was written.';
