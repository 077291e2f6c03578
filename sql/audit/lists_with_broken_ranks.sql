-- One row per listener whose ranks are not 1, 2, 3 and so on.
select user_id, min(rank) as rank
from {batch}
group by user_id
having min(rank) <> 1 or max(rank) <> count(*) or count(distinct rank) <> count(*)
