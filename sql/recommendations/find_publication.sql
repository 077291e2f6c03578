-- At most one row: a publication, and whether it is live.
select
    publication.publication_id,
    publication.status,
    publication.pruned_at,
    publication.publication_id = (select publication_id from ml.live_publications order by live_id desc limit 1)
from ml.publications as publication
where publication.publication_id = %(publication_id)s
