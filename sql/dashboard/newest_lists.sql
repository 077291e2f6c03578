-- One row, or none before the first: the list of everyone that was made last, whatever became of it.
select publication_id, status, made_at, reason
from ml.publications
order by publication_id desc
limit 1
