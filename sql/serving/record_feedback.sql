-- One row: which of user, track and publication are known. If all are, also the stored answer and whether it is new. For
-- each key the last answer of a user on a track of a publication counts. The same answer again changes nothing.
with existing as (
    select
        exists (
            select from mart.dim_users where user_id = %(user_id)s::bigint and removed_at is null
        ) as known_user,
        exists (
            select from mart.dim_tracks where track_id = %(track_id)s::bigint and removed_at is null
        ) as track,
        %(publication_id)s::bigint is null or exists (
            select from ml.publications where publication_id = %(publication_id)s::bigint
        ) as publication
),

stored as (
    insert into ml.feedback (user_id, track_id, publication_id, useful, key_id, created_at, updated_at)
    select %(user_id)s, %(track_id)s, %(publication_id)s, %(useful)s, %(key_id)s, %(now)s, %(now)s
    from existing
    where known_user and track and publication
    on conflict (user_id, track_id, publication_id, key_id) do update
    set
        useful = excluded.useful,
        updated_at = case
            when feedback.useful = excluded.useful then feedback.updated_at else excluded.updated_at
        end
    returning user_id, track_id, publication_id, useful, created_at, updated_at, xmax = 0 as new
)

select
    existing.known_user,
    existing.track,
    existing.publication,
    stored.new,
    json_build_object(
        'user_id', stored.user_id,
        'track_id', stored.track_id,
        'publication_id', stored.publication_id,
        'useful', stored.useful,
        'created_at', stored.created_at,
        'updated_at', stored.updated_at
    )::text as answer
from existing
left join stored on true;
