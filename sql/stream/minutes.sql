-- name: save_minute
-- Saves the figures of one consumer and minute, and replaces earlier figures.
insert into stream.minutes (
    minute, consumer_id, topic, messages, plays, rejected, parked, lists, failed_lists, lag_messages, lag_seconds,
    commit_ages, list_ages, written_at
)
values (
    %(minute)s, %(consumer_id)s, %(topic)s, %(messages)s, %(plays)s, %(rejected)s, %(parked)s, %(lists)s,
    %(failed_lists)s, %(lag_messages)s, %(lag_seconds)s, %(commit_ages)s, %(list_ages)s, %(now)s
)
on conflict (minute, consumer_id) do update
set
    topic = excluded.topic,
    messages = excluded.messages,
    plays = excluded.plays,
    rejected = excluded.rejected,
    parked = excluded.parked,
    lists = excluded.lists,
    failed_lists = excluded.failed_lists,
    lag_messages = excluded.lag_messages,
    lag_seconds = excluded.lag_seconds,
    commit_ages = excluded.commit_ages,
    list_ages = excluded.list_ages,
    written_at = excluded.written_at;

-- name: delete_minutes
-- Deletes the figures of minutes before a moment.
delete from stream.minutes where minute < %(before)s;

-- name: delete_rejected_messages
-- Deletes rejected messages and rejected parked sessions from before a moment. Rejected rows of batches stay: they have
-- no rejected_at.
delete from ops.rejected_rows where rejected_at < %(before)s;
