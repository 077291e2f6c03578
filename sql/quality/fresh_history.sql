-- name: prune_history
-- Deletes the fresh recommendations that no session from `before` on saw.
delete from ml.fresh_recommendation_history as older
where older.shown_from < %(before)s
    and exists (
        select from ml.fresh_recommendation_history as newer
        where newer.publication_id = older.publication_id
            and newer.user_id = older.user_id
            and newer.history_id > older.history_id
            and newer.shown_from <= %(before)s
    );

-- name: delete_removed
-- Deletes rows that record a removal of fresh recommendations before a moment, if no earlier row is left.
delete from ml.fresh_recommendation_history as removed
where removed.track_ids = array[]::bigint[]
    and removed.shown_from < %(before)s
    and not exists (
        select from ml.fresh_recommendation_history as earlier
        where earlier.publication_id = removed.publication_id
            and earlier.user_id = removed.user_id
            and earlier.history_id < removed.history_id
    );
