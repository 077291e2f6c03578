-- Records which variant of an experiment users got, and when first. Users who are unknown or already recorded change nothing.
insert into ml.experiment_exposures (experiment_id, user_id, is_treatment, first_at)
select %(experiment_id)s, exposed.user_id, exposed.is_treatment, exposed.first_at
from unnest(%(user_ids)s::bigint[], %(are_treatment)s::boolean[], %(first_at)s::timestamptz[])
    as exposed (user_id, is_treatment, first_at)
where exists (select from mart.dim_users as known_user where known_user.user_id = exposed.user_id)
on conflict do nothing;
