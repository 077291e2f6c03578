-- All counts that must be made anew.
delete from mart.user_track_plays as counted
using stale_pairs as stale
where counted.user_id = stale.user_id and counted.track_id = stale.track_id
