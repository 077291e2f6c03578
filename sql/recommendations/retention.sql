-- name: mark_pruned
-- Marks publications whose rows are no longer needed. Kept are the live one, the newest that were live, and those staged
-- or blocked within a day. A time more than a day after now comes from a clock that was ahead. A marked publication counts
-- as deleted, even while tables of it are left.
update ml.publications
set pruned_at = %(pruned_at)s
where pruned_at is null
    and publication_id is distinct from (select publication_id from ml.live_publications order by live_id desc limit 1)
    and case when status = 'published'
        then publication_id not in (
            select publication_id from ml.live_publications
            group by publication_id order by max(live_id) desc limit %(kept)s
        )
        else made_at not between %(unpublished_before)s and %(unpublished_after)s
    end;

-- name: delete_fallbacks
-- Deletes the fallbacks of pruned publications.
delete from ml.fallbacks
where publication_id in (select publication_id from ml.publications where pruned_at is not null);

-- name: delete_fresh_history
-- Deletes what is kept of the fresh recommendations of pruned publications.
delete from ml.fresh_recommendation_history
where publication_id in (select publication_id from ml.publications where pruned_at is not null);

-- name: find_unfinished_pruning
-- One row per pruned publication with tables left. A half detached one comes first, because no other can be detached
-- before it.
select publication.publication_id
from ml.publications as publication
join pg_class as relation
    on relation.relname in (
        'recommendations_' || publication.publication_id,
        'similar_tracks_' || publication.publication_id,
        'recommendations_' || publication.publication_id || '_profile'
    )
join pg_namespace as schema on schema.oid = relation.relnamespace and schema.nspname in ('ml', 'staging')
left join pg_inherits as attached on attached.inhrelid = relation.oid
where publication.pruned_at is not null
group by publication.publication_id
order by coalesce(bool_or(attached.inhdetachpending), false) desc, publication.publication_id;
