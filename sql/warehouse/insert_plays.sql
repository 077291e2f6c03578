-- One row per play of the new sessions of the months asked for (or of all others).
insert into {target} (listen_history_id, position, track_id, created_at)
select %(last_id)s + session.new_ordinal, play.position, play.track_id, session.created_at
from {staged} as session
cross join lateral unnest(session.items) with ordinality as play (track_id, position)
where session.is_new
    and (date_trunc('month', session.created_at, 'UTC')::date = any(%(months)s)) = %(of_these_months)s
