-- One row per endpoint and day from `first_day` to `last_day`: what its newest revision came to, and whether one was blocked before.
select distinct on (endpoint, day)
    endpoint,
    day,
    batch_id,
    status,
    rows_landed,
    rows_rejected,
    rows_conflicting,
    plays_rejected,
    bool_or(status = 'blocked') over (partition by endpoint, day) as was_blocked
from ops.batches
where day between %(first_day)s and %(last_day)s
order by endpoint, day, revision desc
