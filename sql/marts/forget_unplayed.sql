-- All users and tracks of which no play is left.
delete from mart.user_track_plays as counted
using play_changes as change
where counted.user_id = change.user_id and counted.track_id = change.track_id
    and change.dropped > 0 and counted.plays = 0
