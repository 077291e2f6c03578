-- name: reserve_request
-- Reserves the moment of one request to a source. One row: the seconds until that moment. It uses the clock of the
-- database, which all processes share.
insert into ops.request_rates as rate (source, free_at)
values (%(source)s, clock_timestamp() + %(interval)s)
on conflict (source) do update set free_at = greatest(rate.free_at, clock_timestamp()) + %(interval)s
returning greatest(0, extract(epoch from rate.free_at - %(interval)s - clock_timestamp()))::double precision;
