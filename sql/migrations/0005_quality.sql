-- ml: how good the lists turned out to be, what was decided on it day by day, and the alarms that wait for an answer.

-- Whether a list was made without what its listeners had played: then only what they first play can be on it.
alter table ml.publications add column excludes_played boolean not null default true;

-- Why a training was held: somebody or the calendar asked for it, the quality fell, or the model was old.
alter table ml.model_runs add column cause text not null default 'asked'
    check (cause in ('asked', 'degradation', 'age'));

-- One row per listener, track, publication and key: no key changes what another has told.
alter table ml.feedback drop constraint feedback_user_id_track_id_publication_id_key;
alter table ml.feedback add unique nulls not distinct (user_id, track_id, publication_id, key_id);

-- One row per metric and day (UTC) on which there was something to measure. `users` are listeners with a value, of whom
-- `value` is the mean; it lies between `lower` and `upper` 19 times of 20. `publication_id` is the list that was live for
-- most of them. A day that is not `judged` counts for no alarm.
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

-- One row per alarm: a metric fell beyond chance. Open until a training was decided: then `answer` is what became of
-- it, and `answered_after` the newest day that was judged by then. With other lists, what is usual is learned anew from
-- the days after it; where the champion was kept, a cool-down begins. At most one of a metric is open.
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

-- One row per day that was judged, and one per training that was decided: what, why, and the figures. `day` is the day
-- judged, or the last one that was learned from.
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
