-- At most one row: the publication that is kept and was live last before the one that is live now.
select live.publication_id
from ml.live_publications as live
join ml.publications as publication using (publication_id)
where publication.pruned_at is null
    and live.publication_id <> (select publication_id from ml.live_publications order by live_id desc limit 1)
order by live.live_id desc
limit 1
