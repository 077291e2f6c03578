-- One row per recommendation with a higher score than the rank before it.
select user_id, rank
from (
    select user_id, rank, score > lag(score) over (partition by user_id order by rank) as rises
    from {batch}
) as ranked
where rises
