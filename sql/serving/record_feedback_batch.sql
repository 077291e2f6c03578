-- One row per item of a batch that is not stored: its index from 0, and which of user, track and publication are unknown or
-- removed. The last answer of a key about usefulness replaces earlier ones. Any other reaction is stored once, with the time
-- of its last repetition.
with checked as (
    select
        item.*,
        not exists (
            select from mart.dim_users as known_user
            where known_user.user_id = item.user_id and known_user.removed_at is null
        ) as unknown_user,
        not exists (
            select from mart.dim_tracks as track where track.track_id = item.track_id and track.removed_at is null
        ) as unknown_track,
        item.publication_id is not null and not exists (
            select from ml.publications as publication where publication.publication_id = item.publication_id
        ) as unknown_publication
    from unnest(%(user_ids)s::bigint[], %(track_ids)s::bigint[], %(publication_ids)s::bigint[], %(kinds)s::text[])
        with ordinality as item (user_id, track_id, publication_id, kind, number)
),

known as (
    select user_id, track_id, publication_id, kind, number
    from checked
    where not (unknown_user or unknown_track or unknown_publication)
),

stored_answers as (
    insert into ml.feedback (user_id, track_id, publication_id, useful, key_id, created_at, updated_at)
    select distinct on (user_id, track_id, publication_id)
        user_id, track_id, publication_id, kind = 'useful', %(key_id)s, %(now)s, %(now)s
    from known
    where kind in ('useful', 'not_useful')
    order by user_id, track_id, publication_id, number desc
    on conflict (user_id, track_id, publication_id, key_id) do update
    set
        useful = excluded.useful,
        updated_at = case
            when feedback.useful = excluded.useful then feedback.updated_at else excluded.updated_at
        end
),

stored_reactions as (
    insert into ml.reactions (user_id, track_id, publication_id, kind, key_id, created_at, updated_at)
    select distinct on (user_id, track_id, publication_id, kind)
        user_id, track_id, publication_id, kind, %(key_id)s, %(now)s, %(now)s
    from known
    where kind not in ('useful', 'not_useful')
    order by user_id, track_id, publication_id, kind
    on conflict (user_id, track_id, publication_id, key_id, kind) do update set updated_at = excluded.updated_at
)

select (number - 1)::integer, unknown_user, unknown_track, unknown_publication
from checked
where unknown_user or unknown_track or unknown_publication
order by number;
