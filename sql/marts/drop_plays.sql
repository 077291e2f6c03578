-- One row per user and track with dropped plays: fewer than were counted.
update mart.user_track_plays as counted
set plays = counted.plays - change.dropped
from play_changes as change
where counted.user_id = change.user_id and counted.track_id = change.track_id and change.dropped > 0
