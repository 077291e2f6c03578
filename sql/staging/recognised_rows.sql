-- name: count_live_sessions
-- The number of published sessions that are not removed, by the number of days (UTC) from their start to a day. 1 is the
-- day before.
select %(day)s::date - (created_at at time zone 'UTC')::date as days_ago, count(*)
from warehouse.listen_history
where removed_at is null
    and created_at >= (%(day)s::date - %(days)s::integer)::timestamp at time zone 'UTC'
    and created_at < %(day)s::date::timestamp at time zone 'UTC'
group by days_ago;
