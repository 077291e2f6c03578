-- ml: the quality of recommendations, the verdict on each day, and drift alarms.

-- Whether tracks that a user had played are left out. Then only first plays can match a recommendation.
alter table ml.publications add column excludes_played boolean not null default true;

-- Why a training started: a person or the schedule asked for it, the quality fell, or the model was old.
alter table ml.model_runs add column cause text not null default 'asked'
    check (cause in ('asked', 'degradation', 'age'));

-- One row per user, track, publication and key: no key overwrites the answer of another.
alter table ml.feedback drop constraint feedback_user_id_track_id_publication_id_key;
alter table ml.feedback add unique nulls not distinct (user_id, track_id, publication_id, key_id);

-- One row per metric and UTC day on which there was something to measure. `users` is the number of users with a value, and
-- `value` their mean. `lower` and `upper` are the 95 percent interval. `publication_id` was live for most of these users. A
-- day that is not `judged` does not count for drift alarms.
create table ml.quality_metrics (
    metric text not null,
    day date not null,
    value double precision not null,
    users bigint not null,
    lower double precision,
    upper double precision,
    publication_id bigint not null references ml.publications,
    judged boolean not null,
    measured_at timestamptz not null,
    primary key (metric, day)
);

-- One row per drift alarm: a metric fell beyond chance. It is open until a training is decided. Then `answer` is the
-- decision, and `answered_after` the newest day with a verdict. If new recommendations were published, the normal value is
-- learned anew from the days after it. If the champion was kept, a cool-down begins. At most one alarm per metric is open.
create table ml.alarms (
    alarm_id bigint generated always as identity primary key,
    metric text not null,
    day date not null,
    value double precision not null,
    baseline double precision not null,
    statistic double precision not null,
    publication_id bigint not null references ml.publications,
    raised_at timestamptz not null,
    answer text check (answer in ('published', 'fallback', 'kept')),
    answered_at timestamptz,
    answered_after date,
    model_run_id bigint references ml.model_runs,
    check ((answer is null) = (answered_at is null) and (answer is null) = (answered_after is null))
);
create unique index one_open_alarm_a_metric on ml.alarms (metric) where answer is null;

-- One row per day with a verdict, and one per decided training: verdict, reason and figures. `day` is that day, or the last
-- day of the training data.
create table ml.decisions (
    decision_id bigint generated always as identity primary key,
    kind text not null check (kind in ('day', 'training')),
    day date not null,
    verdict text not null,
    why text not null,
    figures jsonb not null default '{}',
    model_run_id bigint references ml.model_runs,
    decided_at timestamptz not null
);
create unique index a_day_is_judged_once on ml.decisions (day) where kind = 'day';
