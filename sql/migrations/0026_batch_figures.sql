-- ops: figures of each batch, their learned ranges, and the decisions of people about them.

-- One row per batch and figure. `parts` holds the rows by category of a distribution; the value is then its distance from
-- usual. Bounds are null while too few days are known.
create table ops.batch_figures (
    batch_id text not null references ops.batches,
    figure text not null,
    value double precision,
    total double precision not null,
    parts jsonb,
    expected double precision,
    lower double precision,
    upper double precision,
    is_normal boolean not null,
    primary key (batch_id, figure)
);

-- One row per unusual figure that a person confirmed as correct.
create table ops.confirmed_figures (
    batch_id text not null,
    figure text not null,
    reason text not null,
    confirmed_by text not null,
    confirmed_at timestamptz not null,
    primary key (batch_id, figure),
    foreign key (batch_id, figure) references ops.batch_figures
);

grant select, insert, delete on ops.batch_figures to moovitamix_ingest;
grant select, insert on ops.confirmed_figures to moovitamix_ingest;
grant select on ops.batch_figures, ops.confirmed_figures to moovitamix_serving, moovitamix_analyst;

comment on table ops.batch_figures is 'One row per batch and figure: its value and the range that was normal for it.';
comment on column ops.batch_figures.batch_id is 'Batch that was measured, before its audit.';
comment on column ops.batch_figures.figure is 'Name of the figure, as in docs/learned-ranges.md.';
comment on column ops.batch_figures.value is
    'Value; the Jensen-Shannon distance from usual, in bits, if the figure is a distribution; null if nothing was measured.';
comment on column ops.batch_figures.total is 'Rows of which a share or a distribution is taken; 0 for other figures.';
comment on column ops.batch_figures.parts is 'Rows by category of a distribution; null otherwise.';
comment on column ops.batch_figures.expected is 'Value that was expected; null without a range.';
comment on column ops.batch_figures.lower is 'Lowest normal value; null without a range.';
comment on column ops.batch_figures.upper is 'Highest normal value; null without a range.';
comment on column ops.batch_figures.is_normal is 'Whether the value was in its range, or there was none.';
comment on table ops.confirmed_figures is 'One row per unusual figure that a person confirmed as correct.';
comment on column ops.confirmed_figures.batch_id is 'Batch with the figure.';
comment on column ops.confirmed_figures.figure is 'Name of the figure.';
comment on column ops.confirmed_figures.reason is 'Why it is correct.';
comment on column ops.confirmed_figures.confirmed_by is 'Who confirmed it: a ticket or a team.';
comment on column ops.confirmed_figures.confirmed_at is 'When it was confirmed.';
