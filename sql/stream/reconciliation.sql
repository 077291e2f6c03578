-- name: delete_confirmed
-- At most `max_sessions` confirmed sessions that were received before a moment. A message that repeats one later is confirmed
-- at once. Sessions that the consumer has locked are deleted after the next batch.
with deleted as (
    select user_id, created_at
    from stream.sessions
    where confirmed_by is not null and received_at < %(before)s
    limit %(max_sessions)s
    for update skip locked
)

delete from stream.sessions as session
using deleted
where session.user_id = deleted.user_id and session.created_at = deleted.created_at;
