-- name: sum_stream_periods
-- One row per ten minutes since `streamed_since` in which a consumer reported: sums over all consumers, the longest lag, and
-- both histograms of ages, which have 14 steps (see stream.minutes).
select
    date_bin('10 minutes', minute, '2000-01-01 00:00:00+00') as period,
    sum(messages)::bigint as messages,
    sum(plays)::bigint as plays,
    sum(rejected)::bigint as rejected,
    max(lag_seconds) as lag_seconds,
    array[
        sum(commit_ages[1]), sum(commit_ages[2]), sum(commit_ages[3]), sum(commit_ages[4]), sum(commit_ages[5]),
        sum(commit_ages[6]), sum(commit_ages[7]), sum(commit_ages[8]), sum(commit_ages[9]), sum(commit_ages[10]),
        sum(commit_ages[11]), sum(commit_ages[12]), sum(commit_ages[13]), sum(commit_ages[14])
    ]::bigint[] as commit_ages,
    array[
        sum(list_ages[1]), sum(list_ages[2]), sum(list_ages[3]), sum(list_ages[4]), sum(list_ages[5]),
        sum(list_ages[6]), sum(list_ages[7]), sum(list_ages[8]), sum(list_ages[9]), sum(list_ages[10]),
        sum(list_ages[11]), sum(list_ages[12]), sum(list_ages[13]), sum(list_ages[14])
    ]::bigint[] as list_ages
from stream.minutes
where minute between %(streamed_since)s and %(latest)s
group by period
order by period;

-- name: find_stream_consumers
-- One row per consumer that reported since `streamed_since`: its newest report, newest first.
select written_at, lag_messages, lag_seconds
from (
    select distinct on (consumer_id) written_at, lag_messages, lag_seconds
    from stream.minutes
    where minute between %(streamed_since)s and %(latest)s
    order by consumer_id, minute desc
) as report
order by written_at desc;
