-- Records when a request of users of a running experiment first failed. Users who were not exposed change nothing.
update ml.experiment_exposures as exposure
set failed_at = failed.failed_at
from unnest(%(user_ids)s::bigint[], %(failed_at)s::timestamptz[]) as failed (user_id, failed_at)
where exposure.experiment_id = (
        select experiment_id from ml.experiments where experiment_id = %(experiment_id)s and ended_at is null
    )
    and exposure.user_id = failed.user_id
    and exposure.failed_at is null;
