-- One row per impression of a batch that is not stored: its index from 0, and which of user, track and publication are
-- unknown. A repeated impression is stored once. `is_recommended` is false for a track that neither the publication nor a
-- fresh list recommended to the user.
with checked as (
    select
        item.*,
        not exists (
            select from mart.dim_users as known_user
            where known_user.user_id = item.user_id and known_user.removed_at is null
        ) as unknown_user,
        not exists (select from mart.dim_tracks as track where track.track_id = item.track_id) as unknown_track,
        not exists (
            select from ml.publications as publication
            where publication.publication_id = item.publication_id and publication.pruned_at is null
        ) as unknown_publication
    from unnest(
        %(user_ids)s::bigint[], %(track_ids)s::bigint[], %(publication_ids)s::bigint[], %(ranks)s::integer[],
        %(shown_at)s::timestamptz[]
    ) with ordinality as item (user_id, track_id, publication_id, rank, shown_at, number)
),

stored as (
    insert into ml.impressions
        (user_id, publication_id, track_id, shown_at, rank, key_id, received_at, is_recommended)
    select distinct on (user_id, publication_id, track_id, shown_at)
        user_id,
        publication_id,
        track_id,
        shown_at,
        rank,
        %(key_id)s,
        %(now)s,
        exists (
            select from ml.recommendations as listed
            where listed.publication_id = checked.publication_id and listed.user_id = checked.user_id
                and listed.track_id = checked.track_id
        )
        or exists (
            select from ml.fresh_recommendations as fresh
            where fresh.publication_id = checked.publication_id and fresh.user_id = checked.user_id
                and checked.track_id = any (fresh.track_ids)
        )
        or not exists (
            select from ml.recommendations as listed
            where listed.publication_id = checked.publication_id and listed.user_id = checked.user_id
        )
        and exists (
            select from ml.fallbacks as fallback
            join mart.dim_users as known_user on known_user.user_id = checked.user_id
            where fallback.publication_id = checked.publication_id and fallback.track_id = checked.track_id
                and fallback.genre in ('', known_user.favorite_genres)
        )
    from checked
    where not (unknown_user or unknown_track or unknown_publication)
    order by user_id, publication_id, track_id, shown_at, number
    on conflict do nothing
)

select (number - 1)::integer, unknown_user, unknown_track, unknown_publication
from checked
where unknown_user or unknown_track or unknown_publication
order by number;
