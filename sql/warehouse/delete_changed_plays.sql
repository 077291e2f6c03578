-- All plays of the sessions that changed.
delete from warehouse.listen_history_tracks as play
using changed_sessions as changed
where play.listen_history_id = changed.id and play.created_at = changed.created_at
