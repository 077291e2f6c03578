-- name: find_topics
-- One row per topic since `since`: messages, plays and lists, when a consumer last reported, and its lag then.
select
    topic, count(distinct consumer_id) as consumers, sum(messages) as messages, sum(plays) as plays, sum(rejected) as rejected,
    sum(parked) as parked, sum(lists) as lists, sum(failed_lists) as failed_lists, max(written_at) as written_at,
    (array_agg(lag_seconds order by written_at desc))[1] as lag_seconds
from stream.minutes
where minute >= %(since)s
group by topic
order by topic;

-- name: find_hours
-- One row per hour since `since`, the newest first: the sums of all topics and the longest lag.
select
    date_trunc('hour', minute at time zone 'UTC') as hour, sum(messages) as messages, sum(plays) as plays,
    sum(rejected) as rejected, sum(lists) as lists, max(lag_seconds) as lag_seconds
from stream.minutes
where minute >= %(since)s
group by 1
order by 1 desc;

-- name: count_fresh_recommendations
-- One row: users with fresh recommendations of the live publication, and the newest of them.
select count(*) as users, max(as_of) as newest
from ml.fresh_recommendations
where publication_id = (select publication_id from ml.live_publications order by live_id desc limit 1);

-- name: count_unconfirmed_sessions
-- One row: the number of streamed sessions that no batch has confirmed.
select count(*) as sessions from stream.sessions where confirmed_by is null;
