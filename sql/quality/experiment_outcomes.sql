-- name: find_experiment_publications
-- One row per treatment publication that was live with a control, for experiments that ran on the day: live id, experiment,
-- control publication, treatment publication.
select treatment.live_id, treatment.experiment_id, live.publication_id, treatment.publication_id
from ml.experiment_publications as treatment
join ml.experiments as experiment using (experiment_id)
join ml.live_publications as live using (live_id)
where experiment.started_at < %(day)s::date + 1
    and (experiment.ended_at is null or experiment.ended_at >= %(day)s::date);

-- name: insert_outcomes
-- Records the outcomes of a day. Skips users whose recorded variant differs, and users first exposed after that day.
insert into ml.experiment_outcomes (experiment_id, user_id, day, ndcg, useful, plays, has_list)
select outcome.experiment_id, outcome.user_id, %(day)s, outcome.ndcg, outcome.useful, outcome.plays, outcome.has_list
from unnest(
    %(experiment_ids)s::bigint[], %(user_ids)s::bigint[], %(are_treatment)s::boolean[], %(ndcg)s::double precision[],
    %(useful)s::double precision[], %(plays)s::bigint[], %(have_list)s::boolean[]
) as outcome (experiment_id, user_id, is_treatment, ndcg, useful, plays, has_list)
join ml.experiment_exposures as exposure using (experiment_id, user_id)
where exposure.is_treatment = outcome.is_treatment and exposure.first_at < %(day)s::date + 1
on conflict do nothing;

-- name: copy_user_totals
-- One row per user of an experiment: their variant, and of each metric the number of values, their sum and the sum of their
-- squares. Each evaluated day since the exposure of the user is a value of the metric plays, also without plays. The last
-- column: whether a request of the user failed.
copy (
    with evaluated as (
        select day from ml.decisions where kind = 'day' and verdict <> 'not-judged'
    ),

    experiment as (
        select experiment_id, coalesce(ended_at, 'infinity') as ended_at
        from ml.experiments where experiment_id = %(experiment_id)s
    )

    select
        exposure.user_id,
        exposure.is_treatment::integer,
        count(outcome.ndcg),
        coalesce(sum(outcome.ndcg), 0),
        coalesce(sum(outcome.ndcg * outcome.ndcg), 0),
        count(outcome.useful),
        coalesce(sum(outcome.useful), 0),
        coalesce(sum(outcome.useful * outcome.useful), 0),
        (
            select count(*) from evaluated
            where evaluated.day >= exposure.first_at::date and evaluated.day <= experiment.ended_at::date
        ),
        coalesce(sum(outcome.plays), 0)::double precision,
        coalesce(sum(outcome.plays * outcome.plays), 0)::double precision,
        count(outcome.has_list),
        coalesce(sum((not outcome.has_list)::integer), 0)::double precision,
        (exposure.failed_at is not null)::integer
    from ml.experiment_exposures as exposure
    join experiment using (experiment_id)
    left join ml.experiment_outcomes as outcome using (experiment_id, user_id)
    group by exposure.user_id, exposure.is_treatment, exposure.first_at, exposure.failed_at, experiment.ended_at
    order by exposure.user_id
) to stdout (format csv);

-- name: find_coverage
-- One row: the share of the catalogue in the first `k` ranks of the newest publication of the control and of the treatment;
-- no row before the first.
select
    (
        select count(distinct track_id) from ml.recommendations
        where publication_id = live.publication_id and rank <= %(k)s
    )::double precision / catalogue.tracks,
    (
        select count(distinct track_id) from ml.recommendations
        where publication_id = treatment.publication_id and rank <= %(k)s
    )::double precision / catalogue.tracks
from ml.experiment_publications as treatment
join ml.live_publications as live using (live_id)
cross join (select greatest(count(*), 1) as tracks from mart.dim_tracks where removed_at is null) as catalogue
where treatment.experiment_id = %(experiment_id)s
order by treatment.live_id desc
limit 1;
