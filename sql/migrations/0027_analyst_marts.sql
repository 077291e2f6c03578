-- mart: tables and views for analysts. Each publication of sessions adds and subtracts what changed; an erasure subtracts the
-- user. Days are UTC, weeks begin on Monday.

create table mart.user_days (
    user_id bigint not null,
    day date not null,
    sessions integer not null,
    plays integer not null,
    primary key (user_id, day)
);

create table mart.daily_activity (
    day date primary key,
    users bigint not null,
    sessions bigint not null,
    plays bigint not null
);

create table mart.daily_track_plays (
    day date not null,
    track_id bigint not null,
    plays integer not null,
    primary key (day, track_id)
);

-- A cohort is the users whose first session is in `cohort_week`.
create table mart.weekly_cohorts (
    cohort_week date not null,
    week date not null,
    users bigint not null,
    primary key (cohort_week, week)
);

insert into mart.user_days (user_id, day, sessions, plays)
select session.user_id, (session.created_at at time zone 'UTC')::date, count(*), coalesce(sum(played.plays), 0)
from warehouse.listen_history as session
left join (
    select listen_history_id, created_at, count(*) as plays
    from warehouse.listen_history_tracks
    group by 1, 2
) as played on played.listen_history_id = session.id and played.created_at = session.created_at
where session.removed_at is null
group by 1, 2;

insert into mart.daily_activity (day, users, sessions, plays)
select day, count(*), sum(sessions), sum(plays) from mart.user_days group by day;

insert into mart.daily_track_plays (day, track_id, plays)
select (listened_at at time zone 'UTC')::date, track_id, count(*) from mart.fact_listens group by 1, 2;

insert into mart.weekly_cohorts (cohort_week, week, users)
select date_trunc('week', first_day)::date, week, count(*)
from (
    select distinct user_id, date_trunc('week', day)::date as week, min(day) over (partition by user_id) as first_day
    from mart.user_days
) as active_weeks
group by 1, 2;

create view mart.track_plays_by_day as
select counted.day, counted.track_id, track.name, track.artist, track.genres, counted.plays
from mart.daily_track_plays as counted
join mart.dim_tracks as track using (track_id);

create view mart.artist_plays_by_day as
select counted.day, track.artist, count(*) as tracks, sum(counted.plays) as plays
from mart.daily_track_plays as counted
join mart.dim_tracks as track using (track_id)
group by counted.day, track.artist;

create view mart.weekly_activity as
select week, active.users, totals.sessions, totals.plays
from (select week, sum(users) as users from mart.weekly_cohorts group by week) as active
join (
    select date_trunc('week', day)::date as week, sum(sessions) as sessions, sum(plays) as plays
    from mart.daily_activity
    group by 1
) as totals using (week);

create view mart.cohort_retention as
select
    cohort.cohort_week,
    (cohort.week - cohort.cohort_week) / 7 as weeks_later,
    first_week.users as cohort_users,
    cohort.users,
    cohort.users::double precision / first_week.users as share
from mart.weekly_cohorts as cohort
join mart.weekly_cohorts as first_week
    on first_week.cohort_week = cohort.cohort_week and first_week.week = cohort.cohort_week;

create view mart.publication_uptake as
with live as (
    select publication_id, min(live_from) as live_from, max(live_until) as live_until, count(*) as times_live
    from (
        select publication_id, live_from, lead(live_from, 1, 'infinity') over (order by live_id) as live_until
        from ml.live_publications
    ) as periods
    group by publication_id
),

quality as (
    select
        publication_id,
        count(distinct day) as days,
        sum(value * users) filter (where starts_with(metric, 'hit@')) / nullif(sum(users) filter (where starts_with(metric, 'hit@')), 0)
            as hit_share,
        sum(value * users) filter (where starts_with(metric, 'ndcg@')) / nullif(sum(users) filter (where starts_with(metric, 'ndcg@')), 0)
            as ndcg
    from ml.quality_metrics
    group by publication_id
),

answers as (
    select publication_id, count(*) filter (where useful) as useful, count(*) filter (where not useful) as not_useful
    from ml.feedback
    where publication_id is not null
    group by publication_id
),

reacted as (
    select
        publication_id,
        count(*) filter (where kind in ('like', 'complete')) as positive,
        count(*) filter (where kind in ('dislike', 'skip', 'hide')) as negative
    from ml.reactions
    where publication_id is not null
    group by publication_id
),

shown as (
    select publication_id, count(*) as impressions, count(distinct user_id) as users
    from ml.impressions
    group by publication_id
)

select
    publication.publication_id,
    run.model,
    live.live_from,
    nullif(live.live_until, 'infinity') as live_until,
    live.times_live,
    publication.listeners as users,
    publication.rows as recommendations,
    publication.tracks_covered,
    coalesce(quality.days, 0) as evaluated_days,
    quality.hit_share,
    quality.ndcg,
    coalesce(answers.useful, 0) as useful_answers,
    coalesce(answers.not_useful, 0) as not_useful_answers,
    coalesce(reacted.positive, 0) as positive_reactions,
    coalesce(reacted.negative, 0) as negative_reactions,
    coalesce(shown.impressions, 0) as impressions,
    coalesce(shown.users, 0) as users_shown
from ml.publications as publication
join live using (publication_id)
join ml.model_runs as run using (model_run_id)
left join quality using (publication_id)
left join answers using (publication_id)
left join reacted using (publication_id)
left join shown using (publication_id);

create view mart.live_recommendations as
select recommendation.user_id, recommendation.rank, recommendation.track_id, track.name, track.artist, recommendation.score
from ml.current_recommendations as recommendation
join mart.dim_tracks as track using (track_id);

create view mart.pipeline_health as
with newest as (
    select distinct on (endpoint, day) * from ops.batches order by endpoint, day, revision desc
),

batches as (
    select
        day,
        count(*) filter (where status in ('published', 'unchanged')) as endpoints_published,
        count(*) filter (where status = 'blocked') as endpoints_blocked,
        count(*) filter (where status not in ('published', 'unchanged', 'blocked')) as endpoints_failed,
        sum(rows_landed) as rows_landed,
        sum(rows_rejected) as rows_rejected,
        max(finished_at) as finished_at
    from newest
    group by day
),

changes as (
    select day, count(*) as revisions, sum(rows_inserted + rows_updated + rows_removed) as rows_changed
    from ops.batches
    group by day
),

failures as (
    select
        batch.day,
        count(*) filter (where result.severity = 'critical') as critical_failures,
        count(*) filter (where result.severity <> 'critical') as warnings
    from ops.expectation_results as result
    join newest as batch using (batch_id)
    where not result.success
    group by batch.day
),

flow_runs as (
    select
        (started_at at time zone 'UTC')::date as day,
        count(*) as runs,
        count(*) filter (where outcome = 'failed' or finished_at is null) as failed_runs
    from ops.runs
    group by 1
),

live as (
    select (live_from at time zone 'UTC')::date as day, count(*) as publications from ml.live_publications group by 1
),

drift as (
    select day, count(*) as alarms from ml.alarms group by day
)

select
    day,
    coalesce(batches.endpoints_published, 0) as endpoints_published,
    coalesce(batches.endpoints_blocked, 0) as endpoints_blocked,
    coalesce(batches.endpoints_failed, 0) as endpoints_failed,
    coalesce(changes.revisions, 0) as revisions,
    coalesce(batches.rows_landed, 0) as rows_landed,
    coalesce(batches.rows_rejected, 0) as rows_rejected,
    coalesce(changes.rows_changed, 0) as rows_changed,
    coalesce(failures.critical_failures, 0) as critical_failures,
    coalesce(failures.warnings, 0) as warnings,
    batches.finished_at,
    coalesce(flow_runs.runs, 0) as runs,
    coalesce(flow_runs.failed_runs, 0) as failed_runs,
    coalesce(live.publications, 0) as publications,
    coalesce(drift.alarms, 0) as drift_alarms
from batches
full join changes using (day)
full join failures using (day)
full join flow_runs using (day)
full join live using (day)
full join drift using (day);

grant select, insert, update, delete
    on mart.user_days, mart.daily_activity, mart.daily_track_plays, mart.weekly_cohorts to moovitamix_ingest;
grant select
    on mart.user_days, mart.daily_activity, mart.daily_track_plays, mart.weekly_cohorts, mart.track_plays_by_day,
    mart.artist_plays_by_day, mart.weekly_activity, mart.cohort_retention, mart.publication_uptake,
    mart.live_recommendations, mart.pipeline_health to moovitamix_analyst;

comment on table mart.user_days is
    'One row per user and day (UTC) with a session that the source still has. Each publication of sessions adds and subtracts what changed.';
comment on column mart.user_days.user_id is 'User who listened (personal data).';
comment on column mart.user_days.day is 'Day (UTC) on which the sessions started.';
comment on column mart.user_days.sessions is 'Number of sessions.';
comment on column mart.user_days.plays is 'Number of plays in these sessions.';

comment on table mart.daily_activity is 'One row per day (UTC) with a session: daily active users, sessions and plays.';
comment on column mart.daily_activity.day is 'Day (UTC) on which the sessions started.';
comment on column mart.daily_activity.users is 'Daily active users: users with a session on this day.';
comment on column mart.daily_activity.sessions is 'Number of sessions.';
comment on column mart.daily_activity.plays is 'Number of plays.';

comment on table mart.daily_track_plays is 'One row per day (UTC) and track that was played. track_plays_by_day adds titles.';
comment on column mart.daily_track_plays.day is 'Day (UTC) on which the sessions started.';
comment on column mart.daily_track_plays.track_id is 'Track that was played.';
comment on column mart.daily_track_plays.plays is 'Number of plays.';

comment on table mart.weekly_cohorts is
    'One row per cohort and week in which a user of it listened. A cohort is the users whose first session is in one week.';
comment on column mart.weekly_cohorts.cohort_week is 'Monday of the week of the first session.';
comment on column mart.weekly_cohorts.week is 'Monday of the week.';
comment on column mart.weekly_cohorts.users is 'Users of the cohort with a session in this week.';

comment on view mart.track_plays_by_day is 'One row per day (UTC) and track that was played, with its title and artist.';
comment on column mart.track_plays_by_day.day is 'Day (UTC) on which the sessions started.';
comment on column mart.track_plays_by_day.track_id is 'Track that was played.';
comment on column mart.track_plays_by_day.name is 'Title, as sent.';
comment on column mart.track_plays_by_day.artist is 'Artist, as sent.';
comment on column mart.track_plays_by_day.genres is 'Genre, as sent.';
comment on column mart.track_plays_by_day.plays is 'Number of plays.';

comment on view mart.artist_plays_by_day is 'One row per day (UTC) and artist that was played.';
comment on column mart.artist_plays_by_day.day is 'Day (UTC) on which the sessions started.';
comment on column mart.artist_plays_by_day.artist is 'Artist, as sent with the newest version of each track.';
comment on column mart.artist_plays_by_day.tracks is 'Number of different tracks that were played.';
comment on column mart.artist_plays_by_day.plays is 'Number of plays.';

comment on view mart.weekly_activity is 'One row per week with a session: weekly active users, sessions and plays.';
comment on column mart.weekly_activity.week is 'Monday of the week.';
comment on column mart.weekly_activity.users is 'Weekly active users: users with a session in this week.';
comment on column mart.weekly_activity.sessions is 'Number of sessions.';
comment on column mart.weekly_activity.plays is 'Number of plays.';

comment on view mart.cohort_retention is 'One row per cohort and week in which a user of it listened: how many came back.';
comment on column mart.cohort_retention.cohort_week is 'Monday of the week of the first session.';
comment on column mart.cohort_retention.weeks_later is 'Weeks since the first week; 0 is the first week.';
comment on column mart.cohort_retention.cohort_users is 'Users of the cohort.';
comment on column mart.cohort_retention.users is 'Users of the cohort with a session in this week.';
comment on column mart.cohort_retention.share is 'These users as a share of the cohort, from 0 to 1.';

comment on view mart.publication_uptake is
    'One row per publication of recommendations that went live: how often users played or liked what it offered.';
comment on column mart.publication_uptake.publication_id is 'Publication.';
comment on column mart.publication_uptake.model is 'Model that made it.';
comment on column mart.publication_uptake.live_from is 'When it went live first.';
comment on column mart.publication_uptake.live_until is 'When another one replaced it last; null while it is live.';
comment on column mart.publication_uptake.times_live is 'How many times it went live, also by a rollback.';
comment on column mart.publication_uptake.users is 'Users with recommendations.';
comment on column mart.publication_uptake.recommendations is 'Recommendations of all users.';
comment on column mart.publication_uptake.tracks_covered is 'Different tracks that were recommended.';
comment on column mart.publication_uptake.evaluated_days is 'Days that the monitor evaluated while it was live.';
comment on column mart.publication_uptake.hit_share is
    'Share of evaluated users and days with a first play of a recommended track; null before the first evaluation.';
comment on column mart.publication_uptake.ndcg is 'Mean NDCG of these users and days; null before the first evaluation.';
comment on column mart.publication_uptake.useful_answers is 'Answers that a recommendation was useful.';
comment on column mart.publication_uptake.not_useful_answers is 'Answers that a recommendation was not useful.';
comment on column mart.publication_uptake.positive_reactions is 'Reactions of the kinds like and complete.';
comment on column mart.publication_uptake.negative_reactions is 'Reactions of the kinds dislike, skip and hide.';
comment on column mart.publication_uptake.impressions is 'Tracks that clients showed; 0 after the publication is pruned.';
comment on column mart.publication_uptake.users_shown is 'Users who were shown its tracks; 0 after the publication is pruned.';

comment on view mart.live_recommendations is 'One row per user and rank of the live publication, with title and artist.';
comment on column mart.live_recommendations.user_id is 'User (personal data).';
comment on column mart.live_recommendations.rank is 'Rank, from 1.';
comment on column mart.live_recommendations.track_id is 'Recommended track.';
comment on column mart.live_recommendations.name is 'Title, as sent.';
comment on column mart.live_recommendations.artist is 'Artist, as sent.';
comment on column mart.live_recommendations.score is 'Score of the model; higher is better.';

comment on view mart.pipeline_health is
    'One row per day with a batch, a run, a publication or a drift alarm: what was published, and what failed.';
comment on column mart.pipeline_health.day is 'Day of the batches; of runs and publications the day (UTC) of their start.';
comment on column mart.pipeline_health.endpoints_published is 'Endpoints whose newest revision is published or unchanged.';
comment on column mart.pipeline_health.endpoints_blocked is 'Endpoints whose newest revision is blocked.';
comment on column mart.pipeline_health.endpoints_failed is 'Endpoints whose newest revision failed or is unfinished.';
comment on column mart.pipeline_health.revisions is 'Batches of the day, with repeated reads.';
comment on column mart.pipeline_health.rows_landed is 'Rows read, of the newest revisions.';
comment on column mart.pipeline_health.rows_rejected is 'Rows rejected, of the newest revisions.';
comment on column mart.pipeline_health.rows_changed is 'Rows inserted, updated or removed, of all revisions.';
comment on column mart.pipeline_health.critical_failures is 'Failed expectations that block, of the newest revisions.';
comment on column mart.pipeline_health.warnings is 'Failed expectations that warn, of the newest revisions.';
comment on column mart.pipeline_health.finished_at is 'When the last of the newest revisions was finished.';
comment on column mart.pipeline_health.runs is 'Runs of all flows.';
comment on column mart.pipeline_health.failed_runs is 'Runs that failed, or have no end.';
comment on column mart.pipeline_health.publications is 'Publications of recommendations that went live.';
comment on column mart.pipeline_health.drift_alarms is 'Drift alarms about this day.';
