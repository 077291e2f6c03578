-- One row per recommendation for a user who is not known, or no longer there.
with listed as (
    select user_id, rank from {batch}
)
select listed.user_id, listed.rank
from listed
where not exists (
    select from mart.dim_users as listener
    where listener.user_id = listed.user_id and listener.removed_at is null
)
