-- After a rollback, the consumer reads the changes of sessions that newer batches have confirmed.

create index confirmed_session_changes on stream.sessions (confirmed_by, change_id) where confirmed_by is not null;
