-- One row per play of the new sessions of the months asked for; of every month when none is named.
insert into {target} (listen_history_id, position, track_id, created_at)
select %(last_id)s + session.new_ordinal, play.position, play.track_id, session.created_at
from {staged} as session
cross join lateral unnest(session.items) with ordinality as play (track_id, position)
where session.is_new
    and (%(in_months)s::date[] is null or date_trunc('month', session.created_at, 'UTC')::date = any(%(in_months)s::date[]))
