-- One row per recommendation of what the listener already played, where that is to be left out.
with listed as (
    select user_id, rank, track_id from {batch}
)
select listed.user_id, listed.rank
from listed
join mart.user_track_plays as plays on plays.user_id = listed.user_id and plays.track_id = listed.track_id
where (select excludes_played from staging.{profile})
