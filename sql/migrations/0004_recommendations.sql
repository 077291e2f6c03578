-- ml: what was learned, what was published of it, and what listeners say. serving: who may ask.

create schema ml;

-- One row per training, and one for the popularity that is published before the first. `data_as_of` is exclusive:
-- plays before it were learned from. `model_file` is below DATA_DIR, and null when nothing was kept of the model.
create table ml.model_runs (
    model_run_id bigint generated always as identity primary key,
    model text not null,
    params jsonb not null default '{}',
    metrics jsonb not null default '{}',
    seed bigint not null,
    data_as_of timestamptz not null,
    batches text[] not null,
    code_version text not null,
    decision text not null
        check (decision in ('running', 'published', 'fallback', 'kept', 'blocked', 'failed')),
    why text not null default '',
    model_file text,
    model_digest text,
    started_at timestamptz not null,
    finished_at timestamptz
);

-- One row per list of everyone that was made. `batches` are the newest published ones it was made from. When
-- `pruned_at` is set, its rows went with the retention.
create table ml.publications (
    publication_id bigint generated always as identity primary key,
    model_run_id bigint not null references ml.model_runs,
    flow text not null,
    status text not null check (status in ('staged', 'published', 'blocked')),
    data_as_of timestamptz not null,
    batches text[] not null,
    listeners bigint not null default 0,
    rows bigint not null default 0,
    tracks_covered bigint not null default 0,
    made_at timestamptz not null,
    pruned_at timestamptz,
    reason text
);

-- One row per publication and expectation of the audit of its list.
create table ml.expectation_results (
    publication_id bigint not null references ml.publications,
    expectation text not null,
    "column" text,
    severity text not null,
    success boolean not null,
    unexpected_count bigint,
    unexpected_share double precision,
    observed_value text,
    description text,
    unique nulls not distinct (publication_id, expectation, "column", description)
);

-- One row per publication, listener and rank, from 1. A publication is a partition: it comes and goes whole, and
-- brings its own key of listener and rank.
create table ml.recommendations (
    publication_id bigint not null,
    user_id bigint not null,
    rank integer not null,
    track_id bigint not null,
    score double precision not null
) partition by list (publication_id);

-- One row per publication, track and rank: the tracks played by the same listeners, nearest first. Partitions as above.
create table ml.similar_tracks (
    publication_id bigint not null,
    track_id bigint not null,
    rank integer not null,
    similar_track_id bigint not null,
    score double precision not null
) partition by list (publication_id);

-- One row per publication, favourite genre and rank: for listeners without a list. Genre '' is everyone.
create table ml.fallbacks (
    publication_id bigint not null references ml.publications,
    genre text not null,
    rank integer not null,
    track_id bigint not null,
    score double precision not null,
    primary key (publication_id, genre, rank)
);

-- One row per time that a publication went live, by being published or by a rollback. The newest row is what is live.
create table ml.live_publications (
    live_id bigint generated always as identity primary key,
    publication_id bigint not null references ml.publications,
    live_from timestamptz not null,
    why text not null
);

-- One row: the publication that is live. None before the first.
create view ml.current_publication as
select publication.*, live.live_from, live.why as live_why
from ml.live_publications as live
join ml.publications as publication using (publication_id)
where live.live_id = (select max(live_id) from ml.live_publications);

-- One row per listener and rank of the publication that is live.
create view ml.current_recommendations as
select publication_id, user_id, rank, track_id, score
from ml.recommendations
where publication_id = (
    select publication_id from ml.live_publications order by live_id desc limit 1
);

-- One row per recommendation that is kept: the model run it is from, the batches of data behind list and model, and
-- how many expectations each audit held and failed.
create view ml.recommendation_trace as
select
    recommendation.publication_id,
    recommendation.user_id,
    recommendation.rank,
    recommendation.track_id,
    recommendation.score,
    publication.made_at,
    publication.data_as_of as list_as_of,
    publication.batches as list_batches,
    run.model_run_id,
    run.model,
    run.params,
    run.code_version,
    run.decision,
    run.why,
    run.data_as_of as model_as_of,
    run.batches as model_batches,
    (
        select jsonb_build_object(
            'expectations', count(*),
            'failed_critical', count(*) filter (where not success and severity = 'critical'),
            'failed_warning', count(*) filter (where not success and severity <> 'critical')
        )
        from ml.expectation_results as result
        where result.publication_id = recommendation.publication_id
    ) as list_audit,
    (
        select jsonb_object_agg(batch_id, audit)
        from (
            select
                batch_id,
                jsonb_build_object(
                    'expectations', count(*),
                    'failed_critical', count(*) filter (where not success and severity = 'critical'),
                    'failed_warning', count(*) filter (where not success and severity <> 'critical')
                ) as audit
            from ops.expectation_results as result
            where result.batch_id = any (publication.batches || run.batches)
            group by batch_id
        ) as audits
    ) as data_audits
from ml.recommendations as recommendation
join ml.publications as publication using (publication_id)
join ml.model_runs as run using (model_run_id);

create schema serving;

-- One row per API key. The key itself is not kept: `secret_hash` is SHA-256 of its secret part.
create table serving.api_keys (
    key_id text primary key,
    name text not null,
    secret_hash bytea not null,
    scopes text[] not null,
    created_at timestamptz not null,
    expires_at timestamptz,
    revoked_at timestamptz
);

-- One row per listener, track and publication (null: none named): the last word on whether it was useful.
create table ml.feedback (
    user_id bigint not null references warehouse.users,
    track_id bigint not null references warehouse.tracks,
    publication_id bigint references ml.publications,
    useful boolean not null,
    key_id text not null references serving.api_keys,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    unique nulls not distinct (user_id, track_id, publication_id)
);

-- What serving may do: read lists and what is shown of tracks, and take feedback. No names of people, no e-mails.
do $$
begin
    if not exists (select from pg_roles where rolname = 'moovitamix_serving') then
        begin
            create role moovitamix_serving nologin;
        exception when duplicate_object or unique_violation then
            null; -- another database of this server was migrated at the same moment
        end;
    end if;
    -- Also where we just made it: since Postgres 16 who makes a role may grant it, and not yet take it.
    begin
        grant moovitamix_serving to current_user;
    exception when insufficient_privilege then
        null; -- it was made for us by another: serving has a login of its own, or the other makes us a member
    end;
end
$$;
grant usage on schema mart, ml, serving to moovitamix_serving;
grant select on mart.dim_tracks, mart.dim_users to moovitamix_serving;
grant select on ml.recommendations, ml.similar_tracks, ml.fallbacks, ml.publications, ml.live_publications,
    ml.current_publication, ml.current_recommendations, ml.model_runs to moovitamix_serving;
grant select on serving.api_keys to moovitamix_serving;
grant select, insert, update on ml.feedback to moovitamix_serving;
