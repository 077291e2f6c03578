-- name: find_exposed_experiments
-- One row per experiment that ran on a day, with the share of its treatment. Without exposures there is nothing to compare.
select experiment.experiment_id, experiment.treatment_share
from ml.experiments as experiment
where experiment.started_at < %(day)s::date + 1
    and (experiment.ended_at is null or experiment.ended_at >= %(day)s::date)
    and exists (select from ml.experiment_exposures as exposure where exposure.experiment_id = experiment.experiment_id);

-- name: save_look
-- Records the comparison of the variants of an experiment by all days up to this one.
insert into ml.experiment_looks (experiment_id, day, looked_at, result)
values (%(experiment_id)s, %(day)s, %(looked_at)s, %(result)s)
on conflict (experiment_id, day) do update set looked_at = excluded.looked_at, result = excluded.result;

-- name: find_newest_look
-- One row: the newest look at an experiment, and the number of looks; no row before the first.
select day, result, count(*) over () as looks
from ml.experiment_looks
where experiment_id = %(experiment_id)s
order by day desc
limit 1;
