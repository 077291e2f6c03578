-- Indexes for the audit and the consumer.

-- The hourly audit reads the oldest unconfirmed session, and the newest fresh recommendations.
create index unconfirmed_session_arrivals on stream.sessions (received_at) where confirmed_by is null and not is_parked;
create index on ml.fresh_recommendations (as_of);

-- The consumer counts the published tracks of parked sessions too.
drop index stream.unconfirmed_session_changes, stream.unconfirmed_session_times;
create index unconfirmed_session_changes on stream.sessions (change_id) where confirmed_by is null;
create index unconfirmed_session_times on stream.sessions (created_at) where confirmed_by is null;
