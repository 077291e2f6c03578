-- name: find_figure_history
-- One row per figure and published batch of the endpoint in the days before a batch, oldest first: only the newest revision
-- of a day. `confirmed`: a person confirmed the unusual figure.
with published as (
    select distinct on (day) batch_id, day
    from ops.batches
    where endpoint = %(endpoint)s
        and status in ('published', 'unchanged')
        and day >= %(day)s::date - %(days)s::integer
        and day < %(day)s
    order by day, revision desc
)
select published.day, figure, value, total, parts, expected, is_normal,
    exists (
        select from ops.confirmed_figures as confirmed
        where confirmed.batch_id = published.batch_id and confirmed.figure = measured.figure
    ) as confirmed
from published
join ops.batch_figures as measured using (batch_id)
where value is not null or parts is not null
order by published.day;

-- name: find_figures
-- One row per figure of a batch.
select figure, value, parts from ops.batch_figures where batch_id = %(batch_id)s;

-- name: delete_figures
-- Deletes the figures of a batch that nobody confirmed, before it is measured again.
delete from ops.batch_figures as measured
where batch_id = %(batch_id)s
    and not exists (
        select from ops.confirmed_figures as confirmed
        where confirmed.batch_id = measured.batch_id and confirmed.figure = measured.figure
    );

-- name: insert_figure
-- Records a figure of a batch. A confirmed one stays.
insert into ops.batch_figures (batch_id, figure, value, total, parts, expected, lower, upper, is_normal)
values (
    %(batch_id)s, %(figure)s, %(value)s, %(total)s, %(parts)s, %(expected)s, %(lower)s, %(upper)s, %(is_normal)s
)
on conflict do nothing;

-- name: find_figure
-- A figure of a batch: whether it was normal.
select is_normal from ops.batch_figures where batch_id = %(batch_id)s and figure = %(figure)s;

-- name: confirm_figure
-- Records that a person confirmed an unusual figure. A second call changes nothing.
insert into ops.confirmed_figures (batch_id, figure, reason, confirmed_by, confirmed_at)
values (%(batch_id)s, %(figure)s, %(reason)s, %(confirmed_by)s, %(now)s)
on conflict do nothing;
