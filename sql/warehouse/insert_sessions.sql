-- One row per new session of the months asked for; of every month when none is named.
insert into {target} (id, user_id, created_at, updated_at, row_hash, batch_id)
select %(last_id)s + new_ordinal, user_id, created_at, updated_at, row_hash, %(batch_id)s
from {staged}
where is_new
    and (%(in_months)s::date[] is null or date_trunc('month', created_at, 'UTC')::date = any(%(in_months)s::date[]))
