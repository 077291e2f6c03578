-- One row per answer that was first given on a day, by a listener to whose list the track belonged in the publication
-- that the answer names. `usual` is how many listeners its key has on a day, the median of the 28 days before.
copy (
    with days as (
        select generate_series(%(day)s::date - 28, %(day)s::date - 1, interval '1 day')::date as day
    ),

    answered as (
        select key_id, (created_at at time zone 'UTC')::date as day, count(distinct user_id) as listeners
        from ml.feedback
        where created_at >= %(day)s::date - 28 and created_at < %(day)s::date
        group by 1, 2
    ),

    keys as (
        select distinct key_id from ml.feedback
        where created_at >= %(day)s::date and created_at < %(day)s::date + 1
    ),

    usual as (
        select keys.key_id, percentile_cont(0.5) within group (order by coalesce(answered.listeners, 0)) as listeners
        from keys
        cross join days
        left join answered on answered.key_id = keys.key_id and answered.day = days.day
        group by keys.key_id
    )

    select
        answer.user_id,
        answer.track_id,
        answer.key_id,
        answer.useful::integer,
        usual.listeners,
        answer.publication_id
    from ml.feedback as answer
    join usual using (key_id)
    where answer.created_at >= %(day)s::date
        and answer.created_at < %(day)s::date + 1
        and exists (
            select from ml.recommendations as list
            where list.publication_id = answer.publication_id
                and list.user_id = answer.user_id
                and list.track_id = answer.track_id
        )
    order by answer.user_id, answer.track_id, answer.publication_id
) to stdout (format csv);
