-- name: find_users
-- One row per user with a session or fresh recommendations since a moment.
select user_id from stream.sessions where received_at > %(since)s
union
select user_id from ml.fresh_recommendations where as_of > %(since)s;

-- name: find_last_audit
-- One row: when the last audit began; null before the first. A time after `now` comes from a clock that was ahead.
select max(audited_at) from stream.expectation_results where audited_at <= %(now)s;

-- name: create_sessions_profile
-- One row about the messages since a moment. Shares of less than 100 messages are null. `days_overdue`: the days by which
-- the oldest unconfirmed session is overdue to be dropped.
create unlogged table {table} as
select
    counted.messages,
    (select count(*) from {sessions}) as sessions,
    case when counted.messages >= 100 then counted.rejected::double precision / counted.messages end as rejected_share,
    case when counted.messages >= 100 then counted.parked::double precision / counted.messages end as parked_share,
    (
        select extract(epoch from %(dropped_before)s - min(received_at))::double precision / 86400
        from stream.sessions
        where confirmed_by is null and not is_parked
    ) as days_overdue
from (
    select
        coalesce(sum(messages), 0) as messages,
        coalesce(sum(rejected), 0) as rejected,
        coalesce(sum(parked), 0) as parked
    from stream.minutes
    where minute > %(since)s
) as counted;

-- name: create_fresh_profile
-- One row about the fresh recommendations since a moment. The share of less than 100 lists is null. Lists of publications
-- that are not live count if the live publication is older than a few minutes.
create unlogged table {table} as
select
    (select count(*) from {lists}) as lists,
    case
        when counted.lists + counted.failed_lists >= 100
        then counted.failed_lists::double precision / (counted.lists + counted.failed_lists)
    end as failed_share,
    (
        select count(*)
        from ml.fresh_recommendations as fresh
        join (select publication_id, live_from from ml.live_publications order by live_id desc limit 1) as live
            on live.publication_id <> fresh.publication_id and live.live_from < %(live_before)s
    ) as lists_not_live
from (
    select coalesce(sum(lists), 0) as lists, coalesce(sum(failed_lists), 0) as failed_lists
    from stream.minutes
    where minute > %(since)s
) as counted;

-- name: insert_result
-- Records the result of one expectation.
insert into stream.expectation_results
    (audit_id, expectation, "column", severity, success, unexpected_count, unexpected_share, observed_value, description,
    audited_at)
values
    (%(audit_id)s, %(expectation)s, %(column)s, %(severity)s, %(success)s, %(unexpected_count)s, %(unexpected_share)s,
    %(observed_value)s, %(description)s, %(audited_at)s);

-- name: delete_results
-- Deletes the results of one audit.
delete from stream.expectation_results where audit_id = %(audit_id)s;

-- name: delete_old_results
-- Deletes the results of audits before a moment.
delete from stream.expectation_results where audited_at < %(before)s;

-- name: delete_failed_lists
-- Deletes the lists that failed their audit and did not change since. One row per deleted list: publication, user and newest
-- change.
delete from ml.fresh_recommendations as fresh
using {table} as audited
where audited.user_id = any (%(user_ids)s)
    and fresh.publication_id = audited.publication_id
    and fresh.user_id = audited.user_id
    and fresh.change_id = audited.change_id
    and fresh.as_of = audited.as_of
returning fresh.publication_id, fresh.user_id, fresh.change_id;
