-- One row per new session of the months asked for (or of all others).
insert into {target} (id, user_id, created_at, updated_at, row_hash, batch_id)
select %(last_id)s + new_ordinal, user_id, created_at, updated_at, row_hash, %(batch_id)s
from {staged}
where is_new and (date_trunc('month', created_at, 'UTC')::date = any(%(months)s)) = %(of_these_months)s
