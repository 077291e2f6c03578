-- One row per answer that was first given on a day, if the publication that it names recommended the track to the user.
-- `usual_users` is the usual number of users of its key on a day: the median of the 28 days before. If fresh recommendations
-- were shown, only users whose fresh recommendations are in the history count: see `copy_user_days.sql`.
copy (
    with sample as (
        select greatest(0, max(ceil(log(2, greatest(publication.listeners, 1) / %(max_users)s::numeric))))::integer as n
        from ml.publications as publication
        where publication.publication_id in (
                select publication_id from ml.feedback
                where created_at >= %(day)s::date and created_at < %(day)s::date + 1
            )
            and exists (
                select from ml.fresh_recommendation_history as history
                where history.publication_id = publication.publication_id and history.shown_from < %(day)s::date + 1
            )
    ),

    sampled_feedback as (
        select feedback.*
        from ml.feedback as feedback
        cross join sample
        where feedback.created_at >= %(day)s::date - 28
            and feedback.created_at < %(day)s::date + 1
            and (hashint8extended(feedback.user_id, 0) & ((1::bigint << sample.n) - 1)) = 0
    ),

    days as (
        select generate_series(%(day)s::date - 28, %(day)s::date - 1, interval '1 day')::date as day
    ),

    daily_users as (
        select key_id, (created_at at time zone 'UTC')::date as day, count(distinct user_id) as users
        from sampled_feedback
        where created_at < %(day)s::date
        group by 1, 2
    ),

    keys as (
        select distinct key_id from sampled_feedback
        where created_at >= %(day)s::date
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
    from sampled_feedback as answer
    join usual_users using (key_id)
    where answer.created_at >= %(day)s::date
        and (
            exists (
                select from ml.recommendations as recommendation
                where recommendation.publication_id = answer.publication_id
                    and recommendation.user_id = answer.user_id
                    and recommendation.track_id = answer.track_id
            )
            or exists (
                select from ml.fresh_recommendation_history as history
                where history.publication_id = answer.publication_id
                    and history.user_id = answer.user_id
                    and history.shown_from <= answer.created_at + %(clock_skew)s
                    and answer.track_id = any (history.track_ids)
            )
        )
    order by answer.user_id, answer.track_id, answer.publication_id
) to stdout (format csv);
