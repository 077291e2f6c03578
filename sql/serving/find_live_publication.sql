-- One row, or none before the first publication: what is live.
select publication_id, live_from
from ml.live_publications
order by live_id desc
limit 1;
