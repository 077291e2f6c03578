-- Results of experiments by day: they stay after the rows of their users are deleted.

-- One row per experiment and evaluated UTC day: the comparison of the variants by all days up to it.
create table ml.experiment_looks (
    experiment_id bigint not null references ml.experiments,
    day date not null,
    looked_at timestamptz not null,
    result jsonb not null,
    primary key (experiment_id, day)
);

grant select, insert, update on ml.experiment_looks to moovitamix_recommender;
grant select on ml.experiment_looks to moovitamix_serving, moovitamix_analyst;
-- `maintain` deletes the rows of users some time after the end of their experiment.
grant select on ml.experiments to moovitamix_ingest;
grant select, delete on ml.experiment_exposures, ml.experiment_outcomes to moovitamix_ingest;

comment on table ml.experiment_looks is
    'One row per experiment and evaluated UTC day: the comparison of its variants by all days up to it.';
comment on column ml.experiment_looks.experiment_id is 'Experiment.';
comment on column ml.experiment_looks.day is 'The last UTC day that is included.';
comment on column ml.experiment_looks.looked_at is 'When the variants were compared.';
comment on column ml.experiment_looks.result is
    'The figures of `moovitamix experiment status`: metrics with their bounds, guardrails, violated guardrails, verdict.';
