-- What users of an experiment did on each day.

-- One row per experiment, user and UTC day from their first exposure on, on which they played or answered. `ndcg` is null if
-- they played no track that their list could contain, `useful` if they gave no answer about it.
create table ml.experiment_outcomes (
    experiment_id bigint not null references ml.experiments,
    user_id bigint not null references warehouse.users,
    day date not null,
    ndcg double precision,
    useful double precision,
    plays bigint not null,
    has_list boolean,
    primary key (experiment_id, user_id, day)
);

grant select, insert, delete on ml.experiment_outcomes to moovitamix_recommender;
grant select on ml.experiment_outcomes to moovitamix_analyst;

comment on table ml.experiment_outcomes is
    'One row per experiment, user and UTC day from their first exposure on, on which they played or answered.';
comment on column ml.experiment_outcomes.experiment_id is 'Experiment.';
comment on column ml.experiment_outcomes.user_id is 'User (personal data).';
comment on column ml.experiment_outcomes.day is 'UTC day.';
comment on column ml.experiment_outcomes.ndcg is
    'NDCG of the list of the user by what they played first; null if they played no track that the list could contain.';
comment on column ml.experiment_outcomes.useful is
    'Share of the answers about the list that were useful; null without an answer.';
comment on column ml.experiment_outcomes.plays is 'Plays of the user on that day.';
comment on column ml.experiment_outcomes.has_list is
    'Whether the user had recommendations of their own; null if they played nothing.';
