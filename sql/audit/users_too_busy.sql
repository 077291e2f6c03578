-- One row per user and day (UTC) with more staged sessions than the limit.
select user_id, date_trunc('day', created_at) as created_at
from {batch}
group by user_id, date_trunc('day', created_at)
having count(*) > {limit}
