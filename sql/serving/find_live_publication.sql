-- The live publication; no row before the first.
select publication_id, live_from
from ml.live_publications
order by live_id desc
limit 1;
