-- name: count_request
-- Counts a request (or `requests` of them), unless its client has reached the limit in the last minute: one row if it was counted, else none.
-- Like the sliding window counter of the library `limits`, it adds the share of the previous minute that the last 60
-- seconds contain. The clock is that of the database, which all processes share.
with clock as (
    select extract(epoch from clock_timestamp())::double precision / 60 as minutes
),
earlier as (
    select
        floor(clock.minutes)::bigint as minute,
        floor(coalesce(
            (
                select counted.requests
                from serving.request_counts as counted
                where counted.limit_name = %(limit_name)s and counted.client = %(client)s
                    and counted.minute = floor(clock.minutes)::bigint - 1
            ) * (1 - clock.minutes + floor(clock.minutes)),
            0
        )) as requests
    from clock
)
insert into serving.request_counts as counted (limit_name, client, minute, requests)
select %(limit_name)s, %(client)s, earlier.minute, %(requests)s::integer
from earlier
where earlier.requests + %(requests)s::integer <= %(limit)s
on conflict (limit_name, client, minute) do update set requests = counted.requests + %(requests)s::integer
where counted.requests + %(requests)s::integer + (select earlier.requests from earlier) <= %(limit)s
returning counted.requests;

-- name: find_requests
-- One row: the requests of a client in the last minute, and the seconds until the next minute of the count.
with clock as (
    select extract(epoch from clock_timestamp())::double precision / 60 as minutes
)
select
    floor(coalesce(sum(
        counted.requests
        * case when counted.minute = floor(clock.minutes)::bigint then 1 else 1 - clock.minutes + floor(clock.minutes) end
    ), 0))::bigint,
    60 * (1 - clock.minutes + floor(clock.minutes))
from clock
left join serving.request_counts as counted
    on counted.limit_name = %(limit_name)s and counted.client = %(client)s
    and counted.minute in (floor(clock.minutes)::bigint, floor(clock.minutes)::bigint - 1)
group by clock.minutes;

-- name: delete_old_counts
-- Deletes the counts of minutes that no longer matter, and returns their minutes.
delete from serving.request_counts
where minute < floor(extract(epoch from clock_timestamp()) / 60)::bigint - 1
returning minute;
