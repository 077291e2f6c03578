-- One row per day that is over, had a live publication and has no verdict, in order. A day is over when sessions of a later
-- day were published. Days after the newest play wait for a play; a batch of a day after the newest play ends no day. Times
-- after `now` are ignored: plays from a device whose clock is ahead, and rows of the ledger that were written while our
-- clock was ahead. `blocked`: the sessions of the day failed their last audit.
with newest as (
    select max(created_at)::date as day
    from warehouse.listen_history
    where removed_at is null and created_at <= %(now)s
)

select
    series.day::date as day,
    coalesce((
        select batch.status = 'blocked'
        from ops.batches as batch
        where batch.endpoint = 'listen_history'
            and batch.day = series.day::date + 1
            and batch.status in ('published', 'unchanged', 'blocked')
        order by batch.revision desc
        limit 1
    ), false) as blocked
from generate_series(
    coalesce(
        (select max(day) + 1 from ml.decisions where kind = 'day' and day < %(now)s::timestamptz::date),
        (
            select min(
                greatest( -- live from, as in create_day_plays.sql
                    case when live.live_from <= %(now)s then live.live_from end,
                    case when publication.data_as_of <= %(now)s then publication.data_as_of end
                )
            )::date
            from ml.live_publications as live
            join ml.publications as publication using (publication_id)
        )
    ),
    (
        select least(max(batch.day) - 1, newest.day, %(now)s::timestamptz::date - 1)
        from newest
        join ops.batches as batch on batch.day <= newest.day + 1
        where batch.endpoint = 'listen_history' and batch.status in ('published', 'unchanged')
        group by newest.day
    ),
    interval '1 day'
) as series (day)
order by series.day;
