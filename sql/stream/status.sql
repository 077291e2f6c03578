-- name: find_consumers
-- One row per consumer that reported between two moments: its newest report. A report after `latest` was written while the
-- clock was ahead.
select distinct on (consumer_id) consumer_id, topic, written_at, lag_messages, lag_seconds
from stream.minutes
where minute >= %(since)s::timestamptz - interval '1 minute' and written_at between %(since)s and %(latest)s
order by consumer_id, minute desc;

-- name: find_newest_report
-- One row: when a consumer reported last; null if none did.
select max(written_at) from stream.minutes where written_at <= %(latest)s;

-- name: count_messages
-- One row: how many messages were consumed between two moments, and how many messages and parked sessions were rejected.
select coalesce(sum(messages), 0)::bigint, coalesce(sum(rejected), 0)::bigint
from stream.minutes
where minute between %(since)s and %(latest)s;

-- name: count_sessions
-- One row: the number of sessions that no batch has confirmed, the number of parked sessions, and when a message last
-- changed a session.
select
    count(*) filter (where confirmed_by is null and not is_parked),
    count(*) filter (where confirmed_by is null and is_parked),
    max(received_at)
from stream.sessions;

-- name: find_live_publication
-- The live publication, since when, and the number of its users with fresh recommendations; no row before the first.
select
    live.publication_id,
    live.live_from,
    (select count(*) from ml.fresh_recommendations as fresh where fresh.publication_id = live.publication_id)
from ml.live_publications as live
order by live.live_id desc
limit 1;
