-- How many users still listen 1, 4, 8 and 12 weeks after their first week? One row per cohort, newest first. A share is 0
-- if nobody came back, and null if the week is still to come.
with newest as (select max(week) as week from mart.weekly_activity)

select
    cohort.cohort_week,
    cohort.cohort_users,
    round(max(share) filter (where weeks_later = 1)::numeric, 3) as after_1_week,
    round(max(share) filter (where weeks_later = 4)::numeric, 3) as after_4_weeks,
    round(max(share) filter (where weeks_later = 8)::numeric, 3) as after_8_weeks,
    round(max(share) filter (where weeks_later = 12)::numeric, 3) as after_12_weeks
from (
    select start.cohort_week, start.cohort_users, horizon.weeks as weeks_later, coalesce(later.share, 0) as share
    from mart.cohort_retention as start
    cross join (values (1), (4), (8), (12)) as horizon (weeks)
    join newest on start.cohort_week + 7 * horizon.weeks <= newest.week
    left join mart.cohort_retention as later
        on later.cohort_week = start.cohort_week and later.weeks_later = horizon.weeks
    where start.weeks_later = 0
) as cohort
group by cohort.cohort_week, cohort.cohort_users
order by cohort.cohort_week desc
limit 26;
