-- Describes every schema, table, view and column, for `\d+` and docs/data-model/. A later migration that adds a table or a
-- column comments on it too. Afterwards run `python -m core.data_model`.
-- The comments are a migration, so that an existing database gets them like every other change of the schema.

comment on schema warehouse is 'The published state of the source: users, tracks, sessions and plays.';

comment on table warehouse.users is 'One row per user ever published.';
comment on column warehouse.users.id is 'Id of the user at the source (personal data).';
comment on column warehouse.users.first_name is 'First name, as sent (personal data).';
comment on column warehouse.users.last_name is 'Last name, as sent (personal data).';
comment on column warehouse.users.email is 'E-mail address, as sent; users may share one (personal data).';
comment on column warehouse.users.gender is 'Gender, as sent (personal data).';
comment on column warehouse.users.favorite_genres is 'Favourite genre, as sent (personal data).';
comment on column warehouse.users.created_at is 'When the source created the user.';
comment on column warehouse.users.updated_at is 'When the source last changed the user.';
comment on column warehouse.users.removed_at is 'Day (midnight, UTC) whose snapshot no longer had the row; null while the source has it.';
comment on column warehouse.users.row_hash is 'Hash of the content; the next batch is compared with it.';
comment on column warehouse.users.batch_id is 'Batch that last changed the row.';

comment on table warehouse.tracks is 'One row per track ever published.';
comment on column warehouse.tracks.id is 'Id of the track at the source.';
comment on column warehouse.tracks.name is 'Title, as sent.';
comment on column warehouse.tracks.artist is 'Artist, as sent.';
comment on column warehouse.tracks.songwriters is 'Songwriters, as sent.';
comment on column warehouse.tracks.duration is 'Length as sent, such as 03:25 (minutes, seconds).';
comment on column warehouse.tracks.duration_seconds is 'Length in seconds.';
comment on column warehouse.tracks.genres is 'Genre, as sent.';
comment on column warehouse.tracks.album is 'Album, as sent.';
comment on column warehouse.tracks.created_at is 'When the source created the track.';
comment on column warehouse.tracks.updated_at is 'When the source last changed the track.';
comment on column warehouse.tracks.removed_at is 'Day (midnight, UTC) whose snapshot no longer had the row; null while the source has it.';
comment on column warehouse.tracks.row_hash is 'Hash of the content; the next batch is compared with it.';
comment on column warehouse.tracks.batch_id is 'Batch that last changed the row.';

comment on table warehouse.listen_history is
    'One row per session ever published. Partitioned by month of created_at; a month is created when a batch needs it.';
comment on column warehouse.listen_history.id is
    'Our id of the session, as the source has none. Given in the order of the snapshot, so the same batches give the same ids.';
comment on column warehouse.listen_history.user_id is 'User who listened (personal data).';
comment on column warehouse.listen_history.created_at is 'Start of the session; with the user it identifies the session.';
comment on column warehouse.listen_history.updated_at is 'When the source last changed the session.';
comment on column warehouse.listen_history.removed_at is
    'Day (midnight, UTC) whose snapshot no longer had the row; null while the source has it.';
comment on column warehouse.listen_history.row_hash is 'Hash of the content; the next batch is compared with it.';
comment on column warehouse.listen_history.batch_id is 'Batch that last changed the row.';

comment on table warehouse.listen_history_tracks is
    'One row per play. A session may contain a track twice. Partitioned by month, like the session.';
comment on column warehouse.listen_history_tracks.listen_history_id is 'Session of the play.';
comment on column warehouse.listen_history_tracks.position is 'Position in the session, from 1.';
comment on column warehouse.listen_history_tracks.track_id is 'Track that was played.';
comment on column warehouse.listen_history_tracks.created_at is 'Start of the session; it names the partition.';

comment on schema mart is 'What people and the recommender read, without names and e-mail addresses.';

comment on view mart.dim_users is 'One row per user, without name and e-mail address.';
comment on column mart.dim_users.user_id is 'User (personal data).';
comment on column mart.dim_users.gender is 'Gender, as sent (personal data).';
comment on column mart.dim_users.favorite_genres is 'Favourite genre, as sent (personal data).';
comment on column mart.dim_users.created_at is 'When the source created the user.';
comment on column mart.dim_users.updated_at is 'When the source last changed the user.';
comment on column mart.dim_users.removed_at is 'Day (midnight, UTC) whose snapshot no longer had the user; null while the source has it.';

comment on view mart.dim_tracks is 'One row per track.';
comment on column mart.dim_tracks.track_id is 'Track.';
comment on column mart.dim_tracks.name is 'Title, as sent.';
comment on column mart.dim_tracks.artist is 'Artist, as sent.';
comment on column mart.dim_tracks.songwriters is 'Songwriters, as sent.';
comment on column mart.dim_tracks.genres is 'Genre, as sent.';
comment on column mart.dim_tracks.album is 'Album, as sent.';
comment on column mart.dim_tracks.duration is 'Length as sent, such as 03:25 (minutes, seconds).';
comment on column mart.dim_tracks.duration_seconds is 'Length in seconds.';
comment on column mart.dim_tracks.created_at is 'When the source created the track.';
comment on column mart.dim_tracks.updated_at is 'When the source last changed the track.';
comment on column mart.dim_tracks.removed_at is 'Day (midnight, UTC) whose snapshot no longer had the track; null while the source has it.';

comment on view mart.fact_listens is 'One row per play of a session that the source still has.';
comment on column mart.fact_listens.listen_history_id is 'Session of the play.';
comment on column mart.fact_listens.position is 'Position in the session, from 1.';
comment on column mart.fact_listens.user_id is 'User who listened (personal data).';
comment on column mart.fact_listens.track_id is 'Track that was played.';
comment on column mart.fact_listens.listened_at is 'Start of the session.';

comment on table mart.user_track_plays is
    'One row per user and track played. Each publication of sessions adds and subtracts what changed.';
comment on column mart.user_track_plays.user_id is 'User who listened (personal data).';
comment on column mart.user_track_plays.track_id is 'Track that was played.';
comment on column mart.user_track_plays.plays is 'Number of plays in sessions that the source still has.';
comment on column mart.user_track_plays.first_played_at is 'Start of the first such session.';
comment on column mart.user_track_plays.last_played_at is 'Start of the last such session.';

comment on schema ml is 'Trainings, publications of recommendations, feedback, and the quality of recommendations.';

comment on table ml.model_runs is
    'One row per training, and one for the popularity published before the first training.';
comment on column ml.model_runs.model_run_id is 'Number of the training, ascending.';
comment on column ml.model_runs.model is 'Name of the chosen model.';
comment on column ml.model_runs.params is 'Settings of the chosen model.';
comment on column ml.model_runs.metrics is 'Metrics of all candidates, the holdout and the gate.';
comment on column ml.model_runs.seed is 'Seed of all random choices.';
comment on column ml.model_runs.data_as_of is 'End of the training data, exclusive, in the time of the data: earlier plays were learned.';
comment on column ml.model_runs.batches is 'Newest published batches at the start of the training.';
comment on column ml.model_runs.code_version is 'Version of the code.';
comment on column ml.model_runs.decision is 'Promotion decision: running, published, fallback, kept, blocked or failed.';
comment on column ml.model_runs.why is 'Reason for the decision.';
comment on column ml.model_runs.model_file is 'File of the model below DATA_DIR; null if none is kept.';
comment on column ml.model_runs.model_digest is 'Digest of the file; null if none is kept.';
comment on column ml.model_runs.started_at is 'When the training started.';
comment on column ml.model_runs.finished_at is 'When it was decided; null while it runs or after it was killed.';
comment on column ml.model_runs.cause is
    'Why it was started: asked (a person or the schedule), degradation (a drift alarm) or age (an old model).';

comment on table ml.publications is 'One row per publication: the recommendations of all users, made at once.';
comment on column ml.publications.publication_id is 'Number of the publication, ascending.';
comment on column ml.publications.model_run_id is 'Training whose model was used.';
comment on column ml.publications.flow is 'Flow that made it.';
comment on column ml.publications.status is 'staged, published or blocked.';
comment on column ml.publications.data_as_of is 'End of the plays it was made from, exclusive, in the time of the data.';
comment on column ml.publications.batches is 'Newest published batches it was made from.';
comment on column ml.publications.listeners is 'Number of users with a recommendation list.';
comment on column ml.publications.rows is 'Number of recommendations.';
comment on column ml.publications.tracks_covered is 'Number of different tracks recommended.';
comment on column ml.publications.made_at is 'When it was made.';
comment on column ml.publications.pruned_at is 'When its rows were deleted by the retention; null while they are kept.';
comment on column ml.publications.reason is 'Why it was blocked; null if it was not.';
comment on column ml.publications.excludes_played is 'Whether tracks that the user had played are left out.';

comment on table ml.expectation_results is 'One row per publication and expectation of its audit.';
comment on column ml.expectation_results.publication_id is 'Publication that was audited.';
comment on column ml.expectation_results.expectation is 'Name of the expectation.';
comment on column ml.expectation_results."column" is 'Column it is about; null if it is about several or the whole.';
comment on column ml.expectation_results.severity is 'critical (blocks) or warning.';
comment on column ml.expectation_results.success is 'Whether the expectation holds.';
comment on column ml.expectation_results.unexpected_count is 'Number of rows that fail it; null if it is not about single rows.';
comment on column ml.expectation_results.unexpected_share is 'Share of rows that fail it, from 0 to 1; null if unknown.';
comment on column ml.expectation_results.observed_value is 'Observed value, as text; null if there is none.';
comment on column ml.expectation_results.description is 'What must hold, in words.';

comment on table ml.recommendations is
    'One row per publication, user and rank. A publication is a partition: it is attached and detached as a whole.';
comment on column ml.recommendations.publication_id is 'Publication; it names the partition.';
comment on column ml.recommendations.user_id is 'User who gets the recommendation (personal data).';
comment on column ml.recommendations.rank is 'Rank in the list of the user, from 1.';
comment on column ml.recommendations.track_id is 'Recommended track.';
comment on column ml.recommendations.score is 'Score of the model, without unit; a higher one is better. Comparable within a list only.';

comment on table ml.similar_tracks is
    'One row per publication, track and rank: tracks played by the same users, nearest first. A publication is a partition.';
comment on column ml.similar_tracks.publication_id is 'Publication; it names the partition.';
comment on column ml.similar_tracks.track_id is 'Track to which others are similar.';
comment on column ml.similar_tracks.rank is 'Rank, from 1.';
comment on column ml.similar_tracks.similar_track_id is 'Similar track.';
comment on column ml.similar_tracks.score is 'Cosine of the users of both tracks; 1 means the same users.';

comment on table ml.fallbacks is
    'One row per publication, favourite genre and rank: popular tracks for users without recommendations.';
comment on column ml.fallbacks.publication_id is 'Publication.';
comment on column ml.fallbacks.genre is 'Favourite genre of users; empty for all users.';
comment on column ml.fallbacks.rank is 'Rank, from 1.';
comment on column ml.fallbacks.track_id is 'Popular track.';
comment on column ml.fallbacks.score is 'Popularity among these users, without unit; a higher one is better.';

comment on table ml.live_publications is
    'One row per time that a publication went live, also by a rollback. The newest row names the live publication.';
comment on column ml.live_publications.live_id is 'Number of the event, ascending; the highest is live.';
comment on column ml.live_publications.publication_id is 'Publication that went live.';
comment on column ml.live_publications.live_from is 'When it went live.';
comment on column ml.live_publications.why is 'Why it went live.';

comment on table ml.feedback is
    'One row per user, track, publication and API key: the last answer whether the recommendation was useful.';
comment on column ml.feedback.user_id is 'User who answered (personal data).';
comment on column ml.feedback.track_id is 'Track that the answer is about.';
comment on column ml.feedback.publication_id is 'Publication that the answer is about; null if it names none.';
comment on column ml.feedback.useful is 'Whether the user calls the track useful (personal data).';
comment on column ml.feedback.key_id is 'API key that sent the answer.';
comment on column ml.feedback.created_at is 'When the first answer came.';
comment on column ml.feedback.updated_at is 'When the answer last changed.';

comment on table ml.quality_metrics is 'One row per metric and UTC day on which there was something to measure.';
comment on column ml.quality_metrics.metric is 'Name of the metric, such as ndcg@20.';
comment on column ml.quality_metrics.day is 'Day that was measured (UTC).';
comment on column ml.quality_metrics.value is 'Value of the metric; for a mean over users, their mean.';
comment on column ml.quality_metrics.users is 'Number of users with a value.';
comment on column ml.quality_metrics.lower is 'Lower bound of the 95 percent interval; null if the metric is no mean.';
comment on column ml.quality_metrics.upper is 'Upper bound of the 95 percent interval; null if the metric is no mean.';
comment on column ml.quality_metrics.publication_id is 'Publication that was live for most of these users.';
comment on column ml.quality_metrics.judged is 'Whether the day counts for drift alarms.';
comment on column ml.quality_metrics.measured_at is 'When it was measured.';

comment on table ml.alarms is
    'One row per drift alarm: a metric fell beyond chance. Open while answer is null; at most one per metric is open.';
comment on column ml.alarms.alarm_id is 'Number of the alarm, ascending.';
comment on column ml.alarms.metric is 'Metric that fell.';
comment on column ml.alarms.day is 'Day on which the alarm was raised (UTC).';
comment on column ml.alarms.value is 'Value of the metric on that day.';
comment on column ml.alarms.baseline is 'Normal value of the metric.';
comment on column ml.alarms.statistic is 'CUSUM of the fall, in standard deviations.';
comment on column ml.alarms.publication_id is 'Publication that was live for most users of that day.';
comment on column ml.alarms.raised_at is 'When the alarm was raised.';
comment on column ml.alarms.answer is 'Decision of the training that answered: published, fallback or kept; null while open.';
comment on column ml.alarms.answered_at is 'When it was answered; null while open.';
comment on column ml.alarms.answered_after is
    'Newest day with a verdict at the answer; null while open. After it the normal value is learned anew; if the champion was kept, the cool-down begins.';
comment on column ml.alarms.model_run_id is 'Training that took up the alarm; null if none did.';

comment on table ml.decisions is 'One row per evaluated day (kind day, once per day), and per decided training (kind training).';
comment on column ml.decisions.decision_id is 'Number of the decision, ascending.';
comment on column ml.decisions.kind is 'day or training.';
comment on column ml.decisions.day is 'Evaluated day, or last day of the training data (UTC).';
comment on column ml.decisions.verdict is 'Day verdict such as steady or alarm, or decision of the training.';
comment on column ml.decisions.why is 'Reason for it.';
comment on column ml.decisions.figures is 'Figures behind it.';
comment on column ml.decisions.model_run_id is 'Training that was decided; null for a day.';
comment on column ml.decisions.decided_at is 'When it was decided.';

comment on view ml.current_publication is 'One row: the live publication. None before the first.';
comment on column ml.current_publication.publication_id is 'Number of the live publication.';
comment on column ml.current_publication.model_run_id is 'Training whose model was used.';
comment on column ml.current_publication.flow is 'Flow that made it.';
comment on column ml.current_publication.status is 'published.';
comment on column ml.current_publication.data_as_of is 'End of the plays it was made from, exclusive, in the time of the data.';
comment on column ml.current_publication.batches is 'Newest published batches it was made from.';
comment on column ml.current_publication.listeners is 'Number of users with a recommendation list.';
comment on column ml.current_publication.rows is 'Number of recommendations.';
comment on column ml.current_publication.tracks_covered is 'Number of different tracks recommended.';
comment on column ml.current_publication.made_at is 'When it was made.';
comment on column ml.current_publication.pruned_at is 'Null, as rows of the live publication are kept.';
comment on column ml.current_publication.reason is 'Null, as it was not blocked.';
comment on column ml.current_publication.live_from is 'When it went live.';
comment on column ml.current_publication.live_why is 'Why it went live.';

comment on view ml.current_recommendations is 'One row per user and rank of the live publication.';
comment on column ml.current_recommendations.publication_id is 'Live publication.';
comment on column ml.current_recommendations.user_id is 'User who gets the recommendation (personal data).';
comment on column ml.current_recommendations.rank is 'Rank in the list of the user, from 1.';
comment on column ml.current_recommendations.track_id is 'Recommended track.';
comment on column ml.current_recommendations.score is 'Score of the model, without unit; a higher one is better.';

comment on view ml.recommendation_trace is 'One row per kept recommendation: its training, its data and their audits.';
comment on column ml.recommendation_trace.publication_id is 'Publication.';
comment on column ml.recommendation_trace.user_id is 'User who gets the recommendation (personal data).';
comment on column ml.recommendation_trace.rank is 'Rank in the list of the user, from 1.';
comment on column ml.recommendation_trace.track_id is 'Recommended track.';
comment on column ml.recommendation_trace.score is 'Score of the model, without unit; a higher one is better.';
comment on column ml.recommendation_trace.made_at is 'When the publication was made.';
comment on column ml.recommendation_trace.list_as_of is 'End of the plays that the publication was made from, exclusive.';
comment on column ml.recommendation_trace.list_batches is 'Newest published batches that it was made from.';
comment on column ml.recommendation_trace.model_run_id is 'Training whose model was used.';
comment on column ml.recommendation_trace.model is 'Name of the model.';
comment on column ml.recommendation_trace.params is 'Settings of the model.';
comment on column ml.recommendation_trace.code_version is 'Version of the code.';
comment on column ml.recommendation_trace.decision is 'Promotion decision of the training.';
comment on column ml.recommendation_trace.why is 'Reason for the decision.';
comment on column ml.recommendation_trace.model_as_of is 'End of the training data, exclusive.';
comment on column ml.recommendation_trace.model_batches is 'Newest published batches at the start of the training.';
comment on column ml.recommendation_trace.list_audit is
    'Audit of the publication: number of expectations, and of critical and other failed ones.';
comment on column ml.recommendation_trace.data_audits is 'The same for the audit of each batch of publication and training.';

comment on schema serving is 'The API keys of the serving API.';

comment on table serving.api_keys is 'One row per API key. The key itself is not stored.';
comment on column serving.api_keys.key_id is 'Public part of the key.';
comment on column serving.api_keys.name is 'Name of the client.';
comment on column serving.api_keys.secret_hash is 'SHA-256 of the secret part.';
comment on column serving.api_keys.scopes is 'What the key may do, such as dashboard:read.';
comment on column serving.api_keys.created_at is 'When it was created.';
comment on column serving.api_keys.expires_at is 'When it expires; null for never.';
comment on column serving.api_keys.revoked_at is 'When it was revoked; null if it was not.';

comment on schema ops is 'The ledger: runs, batches, audit results, rejected rows and erasures. Rows are never pruned.';

comment on table ops.runs is 'One row per run of a flow.';
comment on column ops.runs.run_id is 'Number of the run, ascending. Runs that change the warehouse follow each other.';
comment on column ops.runs.flow is 'Name of the flow.';
comment on column ops.runs.day is 'Day that was asked for; null if the flow takes none.';
comment on column ops.runs.started_at is 'When it started.';
comment on column ops.runs.finished_at is 'When it ended; null while it runs or after it was killed.';
comment on column ops.runs.outcome is 'Result in words; null without an end.';

comment on table ops.batches is
    'One row per batch: endpoint, day and revision. landed = rejected + erased + duplicate + superseded + conflicting + unchanged + staged.';
comment on column ops.batches.batch_id is 'Name of the batch, such as tracks-2026-11-22 or tracks-2026-11-22-r2.';
comment on column ops.batches.endpoint is 'tracks, users or listen_history.';
comment on column ops.batches.day is 'Day of the snapshot (UTC).';
comment on column ops.batches.revision is 'Revision, from 1; it grows when the day is fetched again on purpose.';
comment on column ops.batches.source is 'Address of the API, without credentials.';
comment on column ops.batches.status is 'landed, staged, blocked, published, unchanged or failed.';
comment on column ops.batches.rows_reported is 'Total that the API reported; null if unknown.';
comment on column ops.batches.rows_landed is 'Number of rows landed.';
comment on column ops.batches.rows_rejected is 'Rows set aside, because they do not follow the contract of the API.';
comment on column ops.batches.rows_duplicate is 'Rows equal in every stored field to another row of their key.';
comment on column ops.batches.rows_unchanged is 'Rows equal to the published row.';
comment on column ops.batches.rows_staged is 'Rows that are new or changed.';
comment on column ops.batches.rows_inserted is 'Rows inserted into the warehouse.';
comment on column ops.batches.rows_updated is 'Rows updated in the warehouse.';
comment on column ops.batches.rows_removed is 'Published rows that the snapshot no longer has.';
comment on column ops.batches.plays_rejected is 'Plays set aside from sessions that are kept.';
comment on column ops.batches.unknown_fields is
    'Fields that the contract does not have, with the number of rows. A name may be any text of the source (possibly personal data).';
comment on column ops.batches.started_at is 'When reading the snapshot started.';
comment on column ops.batches.finished_at is 'When the batch got its status; null while a run works on it or after it was killed.';
comment on column ops.batches.reason is 'Why it is not published, or why it is published although an audit failed.';
comment on column ops.batches.rows_erased is 'Rows of erased users, removed before storage.';
comment on column ops.batches.rows_superseded is 'Older versions of a row in the same snapshot. Before migration 0010 counted as duplicates.';
comment on column ops.batches.rows_conflicting is
    'Rows that contradict the kept row of their key. Before migration 0010 counted as duplicates.';
comment on column ops.batches.read_in_run is
    'Run that read the snapshot; runs order snapshots, not the clock. Null if no run knows, as the database was unavailable.';

comment on table ops.run_batches is 'One row per run and batch that it worked on.';
comment on column ops.run_batches.run_id is 'Run.';
comment on column ops.run_batches.batch_id is 'Batch.';

comment on table ops.task_runs is 'One row per task of a run that ended, well or not. A killed task has none.';
comment on column ops.task_runs.run_id is 'Run of the task.';
comment on column ops.task_runs.task is 'Name of the task.';
comment on column ops.task_runs.what is 'Batch or publication it worked on; empty if there is none.';
comment on column ops.task_runs.started_at is 'When it started.';
comment on column ops.task_runs.seconds is 'Wall time in seconds.';
comment on column ops.task_runs.cpu_seconds is
    'CPU time in seconds of the process and of children that ended meanwhile, without Postgres.';
comment on column ops.task_runs.peak_memory_mb is
    'Peak resident memory of the process in MB, without children; null if the system does not report it.';
comment on column ops.task_runs.succeeded is 'Whether it ended without an error.';

comment on table ops.expectation_results is 'One row per batch and expectation of its last audit.';
comment on column ops.expectation_results.batch_id is 'Batch that was audited.';
comment on column ops.expectation_results.expectation is 'Name of the expectation.';
comment on column ops.expectation_results."column" is 'Column it is about; null if it is about several or the whole.';
comment on column ops.expectation_results.severity is 'critical (blocks) or warning.';
comment on column ops.expectation_results.success is 'Whether the expectation holds.';
comment on column ops.expectation_results.unexpected_count is 'Number of rows that fail it; null if it is not about single rows.';
comment on column ops.expectation_results.unexpected_share is 'Share of rows that fail it, from 0 to 1; null if unknown.';
comment on column ops.expectation_results.observed_value is 'Observed value, as text; null if there is none.';
comment on column ops.expectation_results.description is 'What must hold, in words.';

comment on table ops.rejected_rows is
    'One row per row or play set aside: it breaks the contract of the API, or is superseded or conflicting.';
comment on column ops.rejected_rows.batch_id is 'Batch of the row.';
comment on column ops.rejected_rows.endpoint is 'Endpoint of the row.';
comment on column ops.rejected_rows.row_position is 'Position in the snapshot.';
comment on column ops.rejected_rows.play_position is 'Position of the play in its session; null for a whole row.';
comment on column ops.rejected_rows.raw_json is 'Text as sent (personal data).';
comment on column ops.rejected_rows.reason is 'Why it was set aside.';

comment on table ops.quarantined_rows is
    'One row per row of a batch that fails an expectation about single rows, up to a limit per expectation.';
comment on column ops.quarantined_rows.batch_id is 'Batch of the row.';
comment on column ops.quarantined_rows.expectation is 'Expectation that the row fails.';
comment on column ops.quarantined_rows."column" is 'Column it is about; null if it is about several.';
comment on column ops.quarantined_rows.row_key is 'Key of the row; for users and sessions it starts with the user id (personal data).';

comment on table ops.acceptances is
    'One row per time that a batch was published although critical expectations failed. It holds for that time only.';
comment on column ops.acceptances.acceptance_id is 'Number of the acceptance, ascending.';
comment on column ops.acceptances.batch_id is 'Batch that was accepted.';
comment on column ops.acceptances.run_id is 'Run that published it.';
comment on column ops.acceptances.reason is 'Why it was accepted.';
comment on column ops.acceptances.accepted_by is 'Who accepted it: a ticket or a team.';
comment on column ops.acceptances.accepted_at is 'When it was accepted.';
comment on column ops.acceptances.waived is
    'Failed expectations: a list of objects with expectation, column, description and observed value.';

comment on table ops.erasures is
    'One row per time that a user was erased, or allowed again. It holds no form of the user id.';
comment on column ops.erasures.erasure_id is 'Number of the erasure, ascending.';
comment on column ops.erasures.kind is 'erased or allowed.';
comment on column ops.erasures.reason is 'Why.';
comment on column ops.erasures.requested_by is 'Reference of the request, such as a ticket.';
comment on column ops.erasures.began_at is 'When it started.';
comment on column ops.erasures.finished_at is 'When it ended; null while it runs or after it was killed: run it again.';
comment on column ops.erasures.found is 'Number of rows or files of the user, by place.';

comment on table ops.suppressed_listeners is
    'One row per erased user: the suppression list. Their rows are not stored again unless allowed_at is set.';
comment on column ops.suppressed_listeners.key is
    'Secret of the keyed hashes. All rows have the same, except those copied from another database.';
comment on column ops.suppressed_listeners.fingerprint is 'Keyed hash of the user id (personal data).';
comment on column ops.suppressed_listeners.e_mails is
    'Keyed hashes of known e-mail addresses, for rows without a readable id (personal data).';
comment on column ops.suppressed_listeners.erasure_id is 'Erasure of the user; null if it is not in this database.';
comment on column ops.suppressed_listeners.erased_at is 'When the user was erased.';
comment on column ops.suppressed_listeners.allowed_at is 'When the user was allowed again; null while suppressed.';

comment on table ops.schema_version is 'One row: the migration that the schema is at.';
comment on column ops.schema_version.version_num is 'Number of the last migration.';

comment on schema staging is
    'Tables of one batch or publication each, before and during its audit. Runs make them, and the retention drops them.';
