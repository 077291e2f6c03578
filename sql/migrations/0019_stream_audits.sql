-- The hourly audit of streamed sessions and fresh recommendations.

-- One row per audit and expectation. An audit reads one of both tables, so it has an id such as
-- streamed_sessions-2026-11-29T15-10.
create table stream.expectation_results (
    audit_id text not null,
    expectation text not null,
    "column" text,
    severity text not null check (severity in ('critical', 'warning')),
    success boolean not null,
    unexpected_count bigint,
    unexpected_share double precision,
    observed_value text,
    description text not null,
    audited_at timestamptz not null,
    primary key (audit_id, expectation)
);

-- The audit reads the sessions of the last hour.
create index on stream.sessions using brin (received_at);

-- The audit runs as recommender. It knows erased users by the hash of their id.
grant usage on schema stream to moovitamix_recommender;
grant select on stream.sessions, stream.minutes, ops.suppressed_listeners to moovitamix_recommender;
grant select, insert, delete on stream.expectation_results to moovitamix_recommender;
grant select, insert, update on stream.failed_recommendations to moovitamix_recommender;
grant delete on ml.fresh_recommendations to moovitamix_recommender;
grant insert on ml.fresh_recommendation_history to moovitamix_recommender;
grant select, delete on stream.expectation_results to moovitamix_ingest;
grant select on stream.expectation_results to moovitamix_analyst;

comment on table stream.expectation_results is
    'One row per audit and expectation: the result on streamed sessions or fresh recommendations. Kept for RETENTION_DAYS.';
comment on column stream.expectation_results.audit_id is 'Table and time of the audit; also the name of its page in Data Docs.';
comment on column stream.expectation_results.expectation is 'Name of the rule.';
comment on column stream.expectation_results."column" is 'Column that it checks; null for rules about several.';
comment on column stream.expectation_results.severity is 'critical fails the audit, warning does not.';
comment on column stream.expectation_results.success is 'Whether the rule is met.';
comment on column stream.expectation_results.unexpected_count is 'Rows that fail it.';
comment on column stream.expectation_results.unexpected_share is 'Their share of all rows, from 0 to 1.';
comment on column stream.expectation_results.observed_value is 'What was observed.';
comment on column stream.expectation_results.description is 'Requirement, or how it failed.';
comment on column stream.expectation_results.audited_at is 'When the audit began.';
