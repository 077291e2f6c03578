-- One row per track that comes twice in a listener's list.
select user_id, min(rank) as rank
from {batch}
group by user_id, track_id
having count(*) > 1
