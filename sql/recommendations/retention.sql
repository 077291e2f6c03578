-- name: mark_pruned
-- One row per publication whose rows are still kept, and need not be: neither live, nor among the newest that were,
-- nor staged or blocked within a day. One made a day after now or later was so by a clock that was ahead. From now on
-- they are gone, whatever is left of them.
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
-- The fallbacks of publications that are gone.
delete from ml.fallbacks
where publication_id in (select publication_id from ml.publications where pruned_at is not null);

-- name: find_unfinished_pruning
-- One row per publication that is gone, and of which there are tables left. One that was left half detached comes
-- first: no other can be detached before.
select publication.publication_id
from ml.publications as publication
join pg_class as part
    on part.relname in (
        'recommendations_' || publication.publication_id,
        'similar_tracks_' || publication.publication_id,
        'recommendations_' || publication.publication_id || '_profile'
    )
join pg_namespace as schema on schema.oid = part.relnamespace and schema.nspname in ('ml', 'staging')
left join pg_inherits as attached on attached.inhrelid = part.oid
where publication.pruned_at is not null
group by publication.publication_id
order by coalesce(bool_or(attached.inhdetachpending), false) desc, publication.publication_id;
