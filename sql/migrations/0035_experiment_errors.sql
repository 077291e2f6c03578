-- Errors of the API by variant of an experiment.

alter table ml.experiment_exposures add column failed_at timestamptz;

grant update (failed_at) on ml.experiment_exposures to moovitamix_serving;

comment on column ml.experiment_exposures.failed_at is
    'When a request of the user first failed with an error of the server after that; null if none did.';
