-- Experiments: two models are served side by side, each to the users that a hash assigns to it.

-- One row per experiment. `control_run_id` is the model that was live at its start. At most one experiment runs.
create table ml.experiments (
    experiment_id bigint generated always as identity primary key,
    control_run_id bigint not null references ml.model_runs,
    treatment_run_id bigint not null references ml.model_runs,
    -- quoted, because a cast of an integer calls a function: roles/find_foreign_code.sql refuses such checks
    treatment_share double precision not null check (treatment_share > '0' and treatment_share < '1'),
    why text not null,
    started_at timestamptz not null,
    paused_why text,
    ended_at timestamptz,
    outcome text check (outcome in ('stopped', 'promoted', 'superseded')),
    outcome_why text,
    check (control_run_id <> treatment_run_id),
    check ((ended_at is null) = (outcome is null))
);
create unique index one_running_experiment on ml.experiments ((ended_at is null)) where ended_at is null;

-- One row per row of ml.live_publications that went live together with a publication of the treatment. While that row is the
-- newest, users of the treatment get this publication. Other rows have no treatment: all users get the live publication.
create table ml.experiment_publications (
    live_id bigint primary key references ml.live_publications,
    experiment_id bigint not null references ml.experiments,
    publication_id bigint not null references ml.publications
);
create index on ml.experiment_publications (experiment_id);

-- One row per experiment and user: which variant they got, and when first.
create table ml.experiment_exposures (
    experiment_id bigint not null references ml.experiments,
    user_id bigint not null references warehouse.users,
    is_treatment boolean not null,
    first_at timestamptz not null,
    primary key (experiment_id, user_id)
);

-- One row about the newest experiment; none before the first. `treatment_publication_id` is the publication that users of the
-- treatment get now; null if all users get the control.
create view ml.newest_experiment as
select
    experiment.experiment_id,
    experiment.control_run_id,
    control_run.model as control_model,
    experiment.treatment_run_id,
    treatment_run.model as treatment_model,
    experiment.treatment_share,
    experiment.why,
    experiment.started_at,
    experiment.ended_at,
    experiment.outcome,
    experiment.outcome_why,
    live.publication_id as control_publication_id,
    case when publication.pruned_at is null then served.publication_id end as treatment_publication_id,
    case
        when experiment.ended_at is not null then null
        when served.publication_id is null then coalesce(
            experiment.paused_why, 'the live recommendations have no treatment; run recommend'
        )
        when publication.pruned_at is not null then 'the publication of the treatment was deleted; run recommend'
    end as paused_why
from ml.experiments as experiment
join ml.model_runs as control_run on control_run.model_run_id = experiment.control_run_id
join ml.model_runs as treatment_run on treatment_run.model_run_id = experiment.treatment_run_id
left join (select live_id, publication_id from ml.live_publications order by live_id desc limit 1) as live on true
left join ml.experiment_publications as served
    on served.live_id = live.live_id and served.experiment_id = experiment.experiment_id
left join ml.publications as publication on publication.publication_id = served.publication_id
where experiment.experiment_id = (select max(experiment_id) from ml.experiments);

grant select, insert, update on ml.experiments to moovitamix_recommender;
grant select, insert on ml.experiment_publications to moovitamix_recommender;
grant select, delete on ml.experiment_exposures to moovitamix_recommender;
grant select, insert on ml.experiment_exposures to moovitamix_serving;
grant select on ml.experiments, ml.experiment_publications to moovitamix_serving, moovitamix_stream;
grant select on ml.newest_experiment to moovitamix_recommender, moovitamix_serving, moovitamix_analyst;
grant select on ml.experiments, ml.experiment_publications, ml.experiment_exposures to moovitamix_analyst;

comment on table ml.experiments is
    'One row per experiment: two models that are served side by side. At most one experiment runs.';
comment on column ml.experiments.experiment_id is 'Number of the experiment. It is the seed of the hash that assigns users.';
comment on column ml.experiments.control_run_id is 'Model run of the control: the model that was live at the start.';
comment on column ml.experiments.treatment_run_id is 'Model run of the treatment: the model that is compared with it.';
comment on column ml.experiments.treatment_share is 'Share of users, between 0 and 1, who get the treatment.';
comment on column ml.experiments.why is 'Reason that was given at the start.';
comment on column ml.experiments.started_at is 'When it was started.';
comment on column ml.experiments.paused_why is
    'Why the newest recommendations have no treatment, so that all users get the control; null while it is served.';
comment on column ml.experiments.ended_at is 'When it ended; null while it runs.';
comment on column ml.experiments.outcome is
    'stopped: by hand. promoted: the treatment became the live publication. superseded: another model went live.';
comment on column ml.experiments.outcome_why is 'Reason of the outcome.';
comment on view ml.newest_experiment is 'One row about the newest experiment; none before the first.';
comment on column ml.newest_experiment.experiment_id is 'Number of the experiment.';
comment on column ml.newest_experiment.control_run_id is 'Model run of the control.';
comment on column ml.newest_experiment.control_model is 'Model of the control.';
comment on column ml.newest_experiment.treatment_run_id is 'Model run of the treatment.';
comment on column ml.newest_experiment.treatment_model is 'Model of the treatment.';
comment on column ml.newest_experiment.treatment_share is 'Share of users, between 0 and 1, who get the treatment.';
comment on column ml.newest_experiment.why is 'Reason that was given at the start.';
comment on column ml.newest_experiment.started_at is 'When it was started.';
comment on column ml.newest_experiment.ended_at is 'When it ended; null while it runs.';
comment on column ml.newest_experiment.outcome is 'stopped, promoted or superseded; null while it runs.';
comment on column ml.newest_experiment.outcome_why is 'Reason of the outcome.';
comment on column ml.newest_experiment.control_publication_id is 'The live publication.';
comment on column ml.newest_experiment.treatment_publication_id is
    'Publication that users of the treatment get now; null if all users get the live one.';
comment on column ml.newest_experiment.paused_why is
    'Why it runs and all users still get the control; null if the treatment is served, or after its end.';
comment on table ml.experiment_publications is
    'One row per row of ml.live_publications that has a treatment: the publication that users of the treatment got.';
comment on column ml.experiment_publications.live_id is 'Row of ml.live_publications; its publication is the control.';
comment on column ml.experiment_publications.experiment_id is 'Experiment.';
comment on column ml.experiment_publications.publication_id is 'Publication of the treatment.';
comment on table ml.experiment_exposures is
    'One row per experiment and user who read recommendations while it was served.';
comment on column ml.experiment_exposures.experiment_id is 'Experiment.';
comment on column ml.experiment_exposures.user_id is 'User (personal data).';
comment on column ml.experiment_exposures.is_treatment is 'Whether the user got the treatment; else the control.';
comment on column ml.experiment_exposures.first_at is 'When the user got recommendations of the experiment first.';
