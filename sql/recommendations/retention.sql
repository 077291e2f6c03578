-- name: mark_pruned
-- Marks publications whose rows are no longer needed. Kept are the live publication, the newest publications that were live,
-- the treatments that were served beside those, and those staged or blocked within a day. A time more than a day after now
-- comes from a clock that was ahead. A marked publication counts as deleted, even while tables of it are left.
with kept as (
    select publication_id, max(live_id) as live_id
    from ml.live_publications
    group by publication_id
    order by max(live_id) desc
    limit greatest(%(keep)s::bigint, 1)
)

update ml.publications
set pruned_at = %(pruned_at)s
where pruned_at is null
    and case when status = 'published'
        then publication_id not in (select publication_id from kept)
            and publication_id not in (
                select treatment.publication_id
                from kept
                join ml.live_publications as live using (publication_id)
                join ml.experiment_publications as treatment on treatment.live_id = live.live_id
            )
        else made_at not between %(unpublished_before)s and %(unpublished_after)s
    end;

-- name: delete_fallbacks
-- Deletes the fallbacks of pruned publications.
delete from ml.fallbacks
where publication_id in (select publication_id from ml.publications where pruned_at is not null);

-- name: delete_fresh_history
-- Deletes the history of fresh recommendations of pruned publications.
delete from ml.fresh_recommendation_history
where publication_id in (select publication_id from ml.publications where pruned_at is not null);

-- name: delete_impressions
-- Deletes at most `batch` impressions of pruned publications.
delete from ml.impressions
where ctid = any (array(
    select impression.ctid from ml.impressions as impression
    join ml.publications as publication using (publication_id)
    where publication.pruned_at is not null
    limit %(batch)s
));

-- name: find_unfinished_pruning
-- One row per pruned publication with tables left. A half detached table comes first, because no other table can be detached
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
