-- One row per session, with the columns of a staging table: one session per user and day, and the same number of users on
-- each day. About one of its five plays is from the user's recommendations, as `sample_data.make_recommendations` makes them. The
-- others are drawn by popularity.
insert into {staged} (user_id, created_at, updated_at, items, row_hash, is_new, new_ordinal)
select user_id, listened_at, listened_at, items, 0, true, row_number() over ()
from unnest(%(users_of_days)s::bigint[]) with ordinality as days (users, number)
cross join lateral (
    select
        1 + (number_in_day * 7919 + number * 104729) %% %(users)s::bigint as user_id,
        %(first)s::timestamptz + (number - 1 + random()) * interval '1 day' as listened_at
    from generate_series(1, days.users) as number_in_day
) as session
cross join lateral (
    select array_agg(
        case
            when random() < 0.2
                then 1 + (user_id * 7919 + ceil(random() * %(length)s)::bigint * 104729) %% %(tracks)s::bigint
            else 1 + floor(%(tracks)s * random() ^ 3)::bigint
        end
        order by position
    ) as items
    from generate_series(1, 5) as position
) as played
