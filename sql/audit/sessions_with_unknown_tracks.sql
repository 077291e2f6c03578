-- One row per staged session that plays a track never published, or no track at all.
select distinct user_id, created_at
from {batch}, unnest(items) as play (track_id)
where not exists (select from warehouse.tracks where tracks.id = track_id)
