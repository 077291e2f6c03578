-- How many users listen each day, and on how many days of a week does a weekly active user listen? One row per week.
select
    weekly.week,
    weekly.users as weekly_active_users,
    round(avg(daily.users), 1) as daily_active_users,
    round(sum(daily.users)::numeric / weekly.users, 2) as days_per_user,
    weekly.plays
from mart.weekly_activity as weekly
join mart.daily_activity as daily on daily.day >= weekly.week and daily.day < weekly.week + 7
group by weekly.week, weekly.users, weekly.plays
order by weekly.week desc
limit 26;
