-- One row: whether the user is known, and their published plays as JSON text, newest first, those before a cursor. The plays
-- of removed tracks are left out.
select
    exists (
        select from mart.dim_users as known_user
        where known_user.user_id = %(user_id)s and known_user.removed_at is null
    ),
    (
        select json_build_object(
            'user_id', %(user_id)s::bigint,
            'plays', coalesce(
                json_agg(json_build_object(
                    'track_id', track_id, 'title', title, 'artist', artist, 'played_at', listened_at
                ) order by listened_at desc, position desc) filter (where number <= %(n)s),
                '[]'::json
            ),
            'next_cursor', case when count(*) > %(n)s then
                min((extract(epoch from listened_at) * 1000000)::bigint) filter (where number = %(n)s)
                || '.' || min(position) filter (where number = %(n)s)
            end
        )::text
        from (
            select
                row_number() over (order by play.listened_at desc, play.position desc) as number,
                play.track_id, described.name as title, described.artist, play.listened_at, play.position
            from mart.fact_listens as play
            join mart.dim_tracks as described on described.track_id = play.track_id and described.removed_at is null
            where play.user_id = %(user_id)s
                and (
                    %(before)s::timestamptz is null
                    or (play.listened_at, play.position) < (%(before)s::timestamptz, %(position)s::integer)
                )
            order by play.listened_at desc, play.position desc
            limit %(n)s + 1
        ) as play
    );
