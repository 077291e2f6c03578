-- All plays of one listener. offset 0: look up each session's plays in its month.
delete from warehouse.listen_history_tracks as play
using (
    select id, created_at
    from warehouse.listen_history
    where user_id = %(user_id)s
    offset 0
) as session
where play.listen_history_id = session.id and play.created_at = session.created_at
