-- name: create_activity_changes
-- One row per user and day (UTC) whose sessions or plays change with a batch of sessions.
create temporary table activity_changes on commit drop as
select
    user_id,
    (created_at at time zone 'UTC')::date as day,
    sum(sessions)::integer as sessions,
    sum(plays)::integer as plays
from (
    select user_id, created_at, 1 as sessions, cardinality(items) as plays from {staged} where is_new
    union all
    select user_id, created_at, case when was_live then 0 else 1 end, 0 from changed_sessions
    union all
    select user_id, created_at, -1, 0 from removed_sessions
    union all
    select user_id, created_at, 0, plays from changed_plays
) as changes
group by 1, 2
having sum(sessions) <> 0 or sum(plays) <> 0;

-- name: create_track_changes
-- One row per day (UTC) and track whose plays change with a batch of sessions.
create temporary table track_changes on commit drop as
select day, track_id, sum(plays)::integer as plays
from (
    select (session.created_at at time zone 'UTC')::date as day, play.track_id, count(*) as plays
    from {staged} as session
    cross join lateral unnest(session.items) as play (track_id)
    where session.is_new
    group by 1, 2
    union all
    select (created_at at time zone 'UTC')::date, track_id, plays from changed_plays
) as changes
group by day, track_id
having sum(plays) <> 0;

-- name: create_activity_changes_of_user
-- Like `create_activity_changes`, for the erasure of a user: everything is subtracted.
create temporary table activity_changes on commit drop as
select user_id, day, -sessions as sessions, -plays as plays
from mart.user_days
where user_id = %(user_id)s;

-- name: create_track_changes_of_user
-- Like `create_track_changes`, for the erasure of a user. `offset 0` makes Postgres look up the plays of each session in
-- its month.
create temporary table track_changes on commit drop as
select (session.created_at at time zone 'UTC')::date as day, play.track_id, -count(*)::integer as plays
from (
    select id, created_at
    from warehouse.listen_history
    where user_id = %(user_id)s and removed_at is null
    offset 0
) as session
cross join lateral (
    select track_id
    from warehouse.listen_history_tracks as published
    where published.listen_history_id = session.id and published.created_at = session.created_at
    offset 0
) as play
group by 1, 2;

-- name: analyze_changes
-- Gives the planner the size of the changes.
analyze activity_changes;
analyze track_changes;

-- name: create_counted_weeks
-- One row per user and week (from Monday) that may count differently in `mart.weekly_cohorts` after the changes: the weeks
-- that change, and every week of a user whose first week may change.
create temporary table counted_weeks on commit drop as
with changed_weeks as (
    select distinct user_id, date_trunc('week', day)::date as week from activity_changes
),

first_changes as (
    select user_id, min(week) as week from changed_weeks group by user_id
)

select user_id, week from changed_weeks
union
select counted.user_id, date_trunc('week', counted.day)::date
from first_changes as change
cross join lateral (
    select min(first_day.day) as day from mart.user_days as first_day where first_day.user_id = change.user_id
) as earliest
join mart.user_days as counted on counted.user_id = change.user_id
where change.week <= earliest.day;

-- name: analyze_counted_weeks
-- Gives the planner the size of the changes.
analyze counted_weeks;

-- name: count_cohorts
-- Adds `sign` times the counted weeks to the cohorts: -1 before the days of users change, 1 afterwards.
insert into mart.weekly_cohorts as cohort (cohort_week, week, users)
select date_trunc('week', earliest.day)::date, counted.week, %(sign)s::integer * count(*)
from counted_weeks as counted
cross join lateral (
    select min(first_day.day) as day from mart.user_days as first_day where first_day.user_id = counted.user_id
) as earliest
where exists (
    select from mart.user_days as active
    where active.user_id = counted.user_id and active.day >= counted.week and active.day < counted.week + 7
)
group by 1, 2
on conflict (cohort_week, week) do update set users = cohort.users + excluded.users;

-- name: add_activity
-- Adds the changes to the days. Run this before the days of users change.
insert into mart.daily_activity as activity (day, users, sessions, plays)
select
    change.day,
    sum(
        (coalesce(counted.sessions, 0) + change.sessions > 0)::integer - (coalesce(counted.sessions, 0) > 0)::integer
    ),
    sum(change.sessions),
    sum(change.plays)
from activity_changes as change
left join mart.user_days as counted on counted.user_id = change.user_id and counted.day = change.day
group by change.day
on conflict (day) do update set
    users = activity.users + excluded.users,
    sessions = activity.sessions + excluded.sessions,
    plays = activity.plays + excluded.plays;

-- name: add_user_days
-- Adds the changes to the days of users.
insert into mart.user_days as counted (user_id, day, sessions, plays)
select user_id, day, sessions, plays from activity_changes
on conflict (user_id, day) do update set
    sessions = counted.sessions + excluded.sessions,
    plays = counted.plays + excluded.plays;

-- name: delete_inactive_days
-- Deletes the days on which a user has no session left.
delete from mart.user_days as counted
using activity_changes as change
where counted.user_id = change.user_id and counted.day = change.day
    and change.sessions < 0 and counted.sessions = 0;

-- name: delete_empty_activity
-- Deletes the days without sessions.
delete from mart.daily_activity where sessions = 0;

-- name: delete_empty_cohorts
-- Deletes the weeks in which nobody of a cohort listened.
delete from mart.weekly_cohorts where users = 0;

-- name: add_track_plays
-- Adds the changes to the plays of each day and track.
insert into mart.daily_track_plays as counted (day, track_id, plays)
select day, track_id, plays from track_changes order by day, track_id
on conflict (day, track_id) do update set plays = counted.plays + excluded.plays;

-- name: delete_unplayed_tracks
-- Deletes the days and tracks without plays.
delete from mart.daily_track_plays as counted
using track_changes as change
where counted.day = change.day and counted.track_id = change.track_id
    and change.plays < 0 and counted.plays = 0;

-- name: drop_primary_keys
-- For the first load. Tables truncated in this transaction can be loaded without the write-ahead log.
truncate mart.user_days, mart.daily_track_plays;
alter table mart.user_days drop constraint user_days_pkey;
alter table mart.daily_track_plays drop constraint daily_track_plays_pkey;

-- name: fill_user_days
-- Inserts the days of users of the first load.
insert into mart.user_days (user_id, day, sessions, plays)
select user_id, (created_at at time zone 'UTC')::date as day, count(*), sum(cardinality(items))
from {staged}
where is_new
group by user_id, day
order by user_id, day;

-- name: fill_activity
-- Inserts the days of the first load, after those of users.
insert into mart.daily_activity (day, users, sessions, plays)
select day, count(*), sum(sessions), sum(plays)
from mart.user_days
group by day;

-- name: fill_track_plays
-- Inserts the plays of each day and track of the first load. Sessions are sorted by day first, so that plays need no sort
-- beyond one day.
insert into mart.daily_track_plays (day, track_id, plays)
select day, track_id, count(*)
from (
    select (created_at at time zone 'UTC')::date as day, unnest(items) as track_id
    from {staged}
    where is_new
    order by day
) as play
group by day, track_id
order by day, track_id;

-- name: fill_cohorts
-- Counts all cohorts of the first load, after the days of users.
insert into mart.weekly_cohorts (cohort_week, week, users)
select cohort_week, week, count(*)
from (
    select week, min(week) over (partition by user_id) as cohort_week
    from (select distinct user_id, date_trunc('week', day::timestamp)::date as week from mart.user_days) as user_weeks
) as active_weeks
group by cohort_week, week;

-- name: add_primary_keys
-- Adds the keys after all rows are loaded.
alter table mart.user_days add constraint user_days_pkey primary key (user_id, day);
alter table mart.daily_track_plays add constraint daily_track_plays_pkey primary key (day, track_id);

-- name: drop_changes
-- Drops the tables of changes, so that another erasure in the same transaction can create them.
drop table if exists activity_changes, track_changes, counted_weeks;
