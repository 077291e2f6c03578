-- One row per listener who is still at the source, with the favourite genre they state.
copy (
    select user_id, favorite_genres from mart.dim_users where removed_at is null
) to stdout (format csv)
