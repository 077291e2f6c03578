-- One row per answer that was first given on a day, if the publication that it names recommended the track to the user.
-- `usual_users` is the usual number of users of its key on a day: the median of the 28 days before.
copy (
    with days as (
        select generate_series(%(day)s::date - 28, %(day)s::date - 1, interval '1 day')::date as day
    ),

    daily_users as (
        select key_id, (created_at at time zone 'UTC')::date as day, count(distinct user_id) as users
        from ml.feedback
        where created_at >= %(day)s::date - 28 and created_at < %(day)s::date
        group by 1, 2
    ),

    keys as (
        select distinct key_id from ml.feedback
        where created_at >= %(day)s::date and created_at < %(day)s::date + 1
    ),

    usual_users as (
        select keys.key_id, percentile_cont(0.5) within group (order by coalesce(daily_users.users, 0)) as users
        from keys
        cross join days
        left join daily_users on daily_users.key_id = keys.key_id and daily_users.day = days.day
        group by keys.key_id
    )

    select
        answer.user_id,
        answer.track_id,
        answer.key_id,
        answer.useful::integer,
        usual_users.users,
        answer.publication_id
    from ml.feedback as answer
    join usual_users using (key_id)
    where answer.created_at >= %(day)s::date
        and answer.created_at < %(day)s::date + 1
        and exists (
            select from ml.recommendations as recommendation
            where recommendation.publication_id = answer.publication_id
                and recommendation.user_id = answer.user_id
                and recommendation.track_id = answer.track_id
        )
    order by answer.user_id, answer.track_id, answer.publication_id
) to stdout (format csv);
