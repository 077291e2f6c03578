-- One row per listener who is still at the source, with the favourite genre they state; a text without end is none.
copy (
    select user_id, case when length(favorite_genres) <= 100 then favorite_genres else '' end
    from mart.dim_users where removed_at is null
) to stdout (format csv)
