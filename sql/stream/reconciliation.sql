-- name: delete_confirmed
-- Confirmed sessions that were received before a moment. A message that repeats one later is confirmed at once. Sessions
-- that the consumer has locked are deleted by the next batch.
delete from stream.sessions
where (user_id, created_at) in (
    select user_id, created_at
    from stream.sessions
    where confirmed_by is not null and received_at < %(before)s
    for update skip locked
);
