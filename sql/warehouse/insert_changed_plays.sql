-- One row per play that the changed sessions hold now.
insert into warehouse.listen_history_tracks (listen_history_id, position, track_id, created_at)
select changed.id, play.position, play.track_id, changed.created_at
from changed_sessions as changed
cross join lateral unnest(changed.items) with ordinality as play (track_id, position)
