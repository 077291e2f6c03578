-- name: delete_exposures
-- Deletes the exposures (which variant users got) of experiments that ended before a time.
delete from ml.experiment_exposures
where experiment_id in (select experiment_id from ml.experiments where ended_at < %(before)s);

-- name: delete_outcomes
-- Deletes the outcomes (what users did) of experiments that ended before a time. The looks stay: they have no users.
delete from ml.experiment_outcomes
where experiment_id in (select experiment_id from ml.experiments where ended_at < %(before)s);
