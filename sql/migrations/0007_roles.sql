-- Rights of each part of the system, by table and, where a part needs few columns, by column. `sql/rights.yaml` lists all
-- of them, and a test compares it with the database. Postgres gives no rights on new tables, so a later migration grants
-- them. `sql/roles` creates the roles.

revoke all on schema ops, staging, warehouse, mart, ml, serving from public;
revoke all on all tables in schema ops, warehouse, mart, ml, serving from public;

-- Ingest loads the rows of the source, with names and e-mail addresses of users. It reads of recommendations only whether
-- the newest publication is older than the newest data.
grant usage on schema ops, staging, warehouse, mart, ml to moovitamix_ingest;
grant create on schema staging, warehouse, mart to moovitamix_ingest; -- for months, and for the key of the mart
grant select on ops.schema_version to moovitamix_ingest;
grant select, insert, update on ops.runs, ops.batches to moovitamix_ingest;
grant select, insert on ops.run_batches to moovitamix_ingest;
grant insert on ops.task_runs to moovitamix_ingest;
grant select (batch_id), insert, delete
    on ops.expectation_results, ops.quarantined_rows, ops.rejected_rows to moovitamix_ingest;
grant select, insert, update on warehouse.users, warehouse.tracks to moovitamix_ingest;
grant select (status, made_at) on ml.publications to moovitamix_ingest;

-- The recommender trains, publishes and evaluates. It sees users as ids with a favourite genre.
grant usage on schema ops, staging, warehouse, mart, ml to moovitamix_recommender;
grant create on schema staging, ml to moovitamix_recommender; -- for the tables of publications
grant select on ops.schema_version to moovitamix_recommender;
grant select, insert, update on ops.runs to moovitamix_recommender;
grant insert on ops.task_runs to moovitamix_recommender;
grant select (batch_id, endpoint, day, revision, status, started_at, finished_at) on ops.batches to moovitamix_recommender;
grant select on warehouse.listen_history, warehouse.listen_history_tracks to moovitamix_recommender;
grant select on mart.dim_tracks, mart.fact_listens, mart.user_track_plays to moovitamix_recommender;
grant select (user_id, favorite_genres, created_at, removed_at) on mart.dim_users to moovitamix_recommender;
grant select, insert, update on ml.model_runs, ml.publications, ml.alarms to moovitamix_recommender;
grant select, insert on ml.expectation_results, ml.live_publications, ml.quality_metrics, ml.decisions
    to moovitamix_recommender;
grant select, insert, delete on ml.fallbacks to moovitamix_recommender;
grant select on ml.feedback, ml.current_publication, ml.current_recommendations, ml.recommendation_trace
    to moovitamix_recommender;

-- Serving reads what a response needs. The health page shows nothing about persons, so `unknown_fields` is left out: it may be
-- any text of the source.
revoke select on mart.dim_users from moovitamix_serving;
grant select (user_id, favorite_genres, created_at, removed_at) on mart.dim_users to moovitamix_serving;
grant usage on schema ops to moovitamix_serving;
grant select on ops.schema_version, ops.runs, ops.run_batches, ops.expectation_results, ops.task_runs
    to moovitamix_serving;
grant select (
    batch_id, endpoint, day, revision, source, status, rows_reported, rows_landed, rows_rejected, rows_duplicate,
    rows_unchanged, rows_staged, rows_inserted, rows_updated, rows_removed, plays_rejected, started_at, finished_at, reason
) on ops.batches to moovitamix_serving;
grant select on ml.quality_metrics, ml.alarms, ml.decisions to moovitamix_serving;

-- Analysts read marts, recommendations, their quality and runs. They see no names, e-mail addresses, raw rows or API keys.
grant usage on schema ops, mart, ml to moovitamix_analyst;
grant select on mart.dim_users, mart.dim_tracks, mart.fact_listens, mart.user_track_plays to moovitamix_analyst;
grant select on ml.model_runs, ml.publications, ml.expectation_results, ml.recommendations, ml.similar_tracks,
    ml.fallbacks, ml.live_publications, ml.feedback, ml.quality_metrics, ml.alarms, ml.decisions,
    ml.current_publication, ml.current_recommendations, ml.recommendation_trace to moovitamix_analyst;
grant select on ops.schema_version, ops.runs, ops.run_batches, ops.task_runs, ops.expectation_results,
    ops.quarantined_rows to moovitamix_analyst;
grant select (
    batch_id, endpoint, day, revision, source, status, rows_reported, rows_landed, rows_rejected, rows_duplicate,
    rows_unchanged, rows_staged, rows_inserted, rows_updated, rows_removed, plays_rejected, started_at, finished_at, reason
) on ops.batches to moovitamix_analyst;
grant select (batch_id, endpoint, row_position, play_position, reason) on ops.rejected_rows to moovitamix_analyst;
