-- One row per recommendation of a track that is not known, or no longer there.
with listed as (
    select user_id, rank, track_id from {batch}
)
select listed.user_id, listed.rank
from listed
where not exists (
    select from mart.dim_tracks as track
    where track.track_id = listed.track_id and track.removed_at is null
)
