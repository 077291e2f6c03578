-- name: sum_stream_periods
-- One row per ten minutes since `streamed_since` in which a consumer reported: sums over all consumers, the longest lag, and
-- both histograms of ages (see stream.minutes).
with reported as (
    select date_bin('10 minutes', minute, '2000-01-01 00:00:00+00') as period, *
    from stream.minutes
    where minute between %(streamed_since)s and %(latest)s
),

ages as (
    select
        step.period,
        array_agg(step.commits order by step.position) as commit_ages,
        array_agg(step.lists order by step.position) as list_ages
    from (
        select reported.period, age.position, sum(age.commits)::bigint as commits, sum(age.lists)::bigint as lists
        from reported
        cross join lateral unnest(reported.commit_ages, reported.list_ages)
            with ordinality as age (commits, lists, position)
        group by reported.period, age.position
    ) as step
    group by step.period
),

sums as (
    select
        period,
        sum(messages)::bigint as messages,
        sum(plays)::bigint as plays,
        sum(rejected)::bigint as rejected,
        max(lag_seconds) as lag_seconds
    from reported
    group by period
)

select sums.period, sums.messages, sums.plays, sums.rejected, sums.lag_seconds, ages.commit_ages, ages.list_ages
from sums
join ages using (period)
order by sums.period;

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
