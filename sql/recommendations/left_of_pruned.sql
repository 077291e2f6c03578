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
order by coalesce(bool_or(attached.inhdetachpending), false) desc, publication.publication_id
