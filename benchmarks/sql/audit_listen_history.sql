-- One row with a column for each rule of the suite of listen_history: the number of rows that break the rule.
select *
from
    (
        select
            count(*) filter (where user_id is null) as user_is_named,
            count(*) filter (where items is null) as items_are_given,
            count(*) filter (
                where least(created_at, updated_at) < timestamptz '1970-01-01 00:00:00+00'
                    or greatest(created_at, updated_at) >= timestamptz '2200-01-01 00:00:00+00'
            ) as timestamps_are_possible,
            count(*) filter (where updated_at < created_at) as updated_after_created,
            count(*) filter (where cardinality(items) = 0) as session_has_plays,
            count(*) filter (where cardinality(items) > %(warn_plays_per_session)s) as session_is_plausible
        from {batch}
    ) as rules_of_rows,
    (
        select count(*) as key_is_unique
        from (select from {batch} group by user_id, created_at having count(*) > 1) as duplicate_keys
    ) as rules_of_keys,
    (
        select count(*) as user_is_published
        from {batch} as session
        where not exists (select from warehouse.users where users.id = session.user_id)
    ) as rules_of_users,
    (
        select count(*) as tracks_are_published
        from (
            select distinct user_id, created_at
            from {batch}, unnest(items) as play (track_id)
            where not exists (select from warehouse.tracks where tracks.id = play.track_id)
        ) as orphans
    ) as rules_of_plays,
    (
        select count(*) as user_is_plausible
        from (
            select from {batch}
            group by user_id, date_trunc('day', created_at)
            having count(*) > %(warn_sessions_per_user_day)s
        ) as overactive_users
    ) as rules_of_days,
    (
        select
            abs(count(*) - 1) as batch_is_profiled,
            count(*) filter (where rows_landed is distinct from rows_reported) as list_is_complete,
            count(*) filter (where rejected_share > %(max_rejected_share)s) as rejects_are_few,
            count(*) filter (where conflicting_share > %(max_conflicting_share)s) as conflicts_are_few,
            count(*) filter (where rows_conflicting > 0) as no_rows_conflict,
            count(*) filter (where rows_superseded > 0) as rows_have_one_version,
            count(*) filter (where removed_share > %(warn_removed_share)s) as removals_are_few,
            count(*) filter (where share_of_published < %(min_share_of_published)s) as list_did_not_collapse,
            count(*) filter (where share_of_published < %(warn_share_of_published)s) as list_did_not_shrink,
            count(*) filter (where share_of_published > %(warn_growth)s) as list_did_not_explode,
            count(*) filter (where rows_listed < 1) as list_is_not_empty,
            count(*) filter (where days_since_newest_update > %(warn_stale_days)s) as source_is_fresh,
            count(*) filter (where rows_with_unknown_fields > 0) as fields_are_known,
            count(*) filter (where dependencies_not_published > 0) as dependencies_are_published,
            count(*) filter (where share_of_quietest_day < %(min_day_volume)s) as last_day_is_whole,
            count(*) filter (where plays_rejected_share > %(max_rejected_plays_share)s) as rejected_plays_are_few
        from {profile}
    ) as rules_of_the_batch
