-- The consumer reads unconfirmed sessions in the order of their changes.

create index unconfirmed_session_changes on stream.sessions (change_id) where confirmed_by is null and not is_parked;
