-- ml: trainings, publications and feedback. serving: API keys.

create schema ml;

-- One row per training, and one for the popularity that is published before the first training. Only plays before
-- `data_as_of` were used. `model_file` is below DATA_DIR; null if no file is kept.
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

-- One row per publication: the recommendations of all users. `batches` are the newest published batches it was made from.
-- If `pruned_at` is set, the retention deleted its rows.
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

-- One row per publication and expectation of its audit.
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

-- One row per publication, user and rank, from 1. A publication is a partition: it is attached and detached as a whole, and
-- has its own key of user and rank.
create table ml.recommendations (
    publication_id bigint not null,
    user_id bigint not null,
    rank integer not null,
    track_id bigint not null,
    score double precision not null
) partition by list (publication_id);

-- One row per publication, track and rank: tracks played by the same users, nearest first. Partitions as above.
create table ml.similar_tracks (
    publication_id bigint not null,
    track_id bigint not null,
    rank integer not null,
    similar_track_id bigint not null,
    score double precision not null
) partition by list (publication_id);

-- One row per publication, favourite genre and rank, for users without recommendations. Genre '' means all users.
create table ml.fallbacks (
    publication_id bigint not null references ml.publications,
    genre text not null,
    rank integer not null,
    track_id bigint not null,
    score double precision not null,
    primary key (publication_id, genre, rank)
);

-- One row per time that a publication went live, also by a rollback. The newest row names the live publication.
create table ml.live_publications (
    live_id bigint generated always as identity primary key,
    publication_id bigint not null references ml.publications,
    live_from timestamptz not null,
    why text not null
);

-- One row: the live publication. None before the first.
create view ml.current_publication as
select publication.*, live.live_from, live.why as live_why
from ml.live_publications as live
join ml.publications as publication using (publication_id)
where live.live_id = (select max(live_id) from ml.live_publications);

-- One row per user and rank of the live publication.
create view ml.current_recommendations as
select publication_id, user_id, rank, track_id, score
from ml.recommendations
where publication_id = (
    select publication_id from ml.live_publications order by live_id desc limit 1
);

-- One row per kept recommendation: its model run, the batches behind publication and model, and for each audit the number
-- of expectations and of failed ones.
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

-- One row per API key. The key itself is not stored: `secret_hash` is SHA-256 of its secret part.
create table serving.api_keys (
    key_id text primary key,
    name text not null,
    secret_hash bytea not null,
    scopes text[] not null,
    created_at timestamptz not null,
    expires_at timestamptz,
    revoked_at timestamptz
);

-- One row per user, track and publication (null if none is named): the last answer whether it was useful.
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

-- Rights of serving: read recommendations and tracks, store feedback. No names and e-mail addresses of users.
do $$
begin
    if not exists (select from pg_roles where rolname = 'moovitamix_serving') then
        begin
            create role moovitamix_serving nologin;
        exception when duplicate_object or unique_violation then
            null; -- a migration of another database on this server created it at the same moment
        end;
    end if;
    -- Needed also for a role that we just created: since Postgres 16 its creator may grant it, but is no full member.
    begin
        grant moovitamix_serving to current_user;
    exception when insufficient_privilege then
        null; -- an administrator created it: serving has its own login, or the administrator makes us a member
    end;
end
$$;
grant usage on schema mart, ml, serving to moovitamix_serving;
grant select on mart.dim_tracks, mart.dim_users to moovitamix_serving;
grant select on ml.recommendations, ml.similar_tracks, ml.fallbacks, ml.publications, ml.live_publications,
    ml.current_publication, ml.current_recommendations, ml.model_runs to moovitamix_serving;
grant select on serving.api_keys to moovitamix_serving;
grant select, insert, update on ml.feedback to moovitamix_serving;
